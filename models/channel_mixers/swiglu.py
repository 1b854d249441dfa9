"""SwiGLU: inner channels gated by a SiLU of another projection.

    y = W_o (silu(W x) * V x)

Shazeer 2020, "GLU Variants Improve Transformer" (arXiv 2002.05202), equation 6. As in the paper: no bias anywhere.
Three matrices where a plain layer has two, so that at equal parameters the inner width is two thirds of its width.
The reference of its slot, and the feed-forward of the host wherever another slot is searched.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


class ChannelMixer(nn.Module):
    """x_BTD -> y_BTD."""

    def __init__(self, hidden_size: int, width: int, layer_idx: int = 0, **kwargs: object) -> None:
        super().__init__()
        self.gate = nn.Linear(hidden_size, width, bias=False)
        self.up = nn.Linear(hidden_size, width, bias=False)
        self.down = nn.Linear(width, hidden_size, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.down(F.silu(self.gate(x)) * self.up(x))
        return out
