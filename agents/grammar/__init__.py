"""Research without a language model: typed spaces of designs, one for each slot, their moves and their renderers."""
