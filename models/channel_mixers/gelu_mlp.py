"""MLP with GELU: the plain feed-forward of most early language models.

    y = W_o gelu(W x)

Vaswani et al. 2017, "Attention Is All You Need" (arXiv 1706.03762), equation 2, with the activation of Hendrycks and
Gimpel 2016, "Gaussian Error Linear Units" (arXiv 1606.08415), equation 1. Left out: the biases.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


class ChannelMixer(nn.Module):
    """x_BTD -> y_BTD."""

    def __init__(self, hidden_size: int, width: int, layer_idx: int = 0, **kwargs: object) -> None:
        super().__init__()
        self.up = nn.Linear(hidden_size, width, bias=False)
        self.down = nn.Linear(width, hidden_size, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.down(F.gelu(self.up(x)))
        return out
