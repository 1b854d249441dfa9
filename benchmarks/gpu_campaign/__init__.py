"""A jailed campaign on one GPU that is lent for minutes at a time: `python -m benchmarks.gpu_campaign --help`."""

PARTS = ("child", "compile", "memory", "cost", "shared", "campaign")
"""Most telling first."""
