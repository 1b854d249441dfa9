"""The host language model, its data and probes, and everything that measures a candidate mixer."""
