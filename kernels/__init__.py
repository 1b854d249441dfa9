"""Sequence operators: their definitions, their fast forms, and the rule that picks one. Import `kernels.dispatch`."""
