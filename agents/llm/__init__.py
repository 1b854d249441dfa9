"""Language models: settings, prices, the wire (LiteLLM), and a client that survives what goes wrong."""
