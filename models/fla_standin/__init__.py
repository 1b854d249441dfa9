"""A part of flash-linear-attention's API in plain PyTorch, for machines whose Triton kernels cannot run.

Layers written against fla's norms, convolutions, activations, operators and helpers run with it unchanged. `install`
puts it under fla's module names, in sandbox processes and tests alone. What is there: `names`; docs say what is not.
"""

from models.fla_standin.install import install, installed, is_standin

__all__ = ["install", "installed", "is_standin"]
