"""Figures: each script prints ratios measured in one run and writes them with machine and versions."""
