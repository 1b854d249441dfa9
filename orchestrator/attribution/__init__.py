"""Which parts of a design its result is due to, and whether a simpler one does as well: docs/attribution.md."""
