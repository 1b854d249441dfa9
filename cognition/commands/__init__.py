"""Subcommands of `python -m cognition` that read and write files of papers."""
