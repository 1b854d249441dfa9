"""Research without a language model: a typed space of linear-attention designs, its mutations and its renderer."""
