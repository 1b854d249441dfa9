"""MLP with squared ReLU: sparse, and steep where it is open.

    y = W_o max(0, W x)^2

So et al. 2021, "Primer: Searching for Efficient Transformers for Language Modeling" (arXiv 2109.08668).
As in the paper: the square follows the ReLU, nothing else changes. Left out: the biases.
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
        out: torch.Tensor = self.down(F.relu(self.up(x)).square())
        return out
