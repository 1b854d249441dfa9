"""Pairs of designs that a researcher would call the same or different, and what novelty makes of them."""
