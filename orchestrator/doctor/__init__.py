"""What to know of a cluster before money is spent on it: `python -m orchestrator.doctor`."""
