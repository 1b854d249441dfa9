"""What a host's layer is made of around the candidate. Nothing here but torch: exported models carry this file along.

Shapes: B batch, T time, D model width.
"""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


class FeedForward(nn.Module):
    """SwiGLU (Shazeer 2020, arXiv 2002.05202): down(silu(gate x) * up x)."""

    def __init__(self, hidden_size: int, width: int) -> None:
        super().__init__()
        # Apart: backward through one joint matrix spends 7% of a small model's step on concatenation.
        self.gate = nn.Linear(hidden_size, width, bias=False)
        self.up = nn.Linear(hidden_size, width, bias=False)
        self.down = nn.Linear(width, hidden_size, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        out_BTD: Tensor = self.down(F.silu(self.gate(x_BTD)) * self.up(x_BTD))
        return out_BTD


class Block(nn.Module):
    """x + mixer(norm(x)), then x + ffn(norm(x))."""

    def __init__(self, hidden_size: int, mixer: nn.Module, ffn: nn.Module) -> None:
        super().__init__()
        self.mixer_norm = nn.RMSNorm(hidden_size, eps=1e-6)
        self.mixer = mixer
        self.ffn_norm = nn.RMSNorm(hidden_size, eps=1e-6)
        self.ffn = ffn

    def forward(self, x_BTD: Tensor) -> Tensor:
        x_BTD = x_BTD + self.mixer(self.mixer_norm(x_BTD))
        out_BTD: Tensor = x_BTD + self.ffn(self.ffn_norm(x_BTD))
        return out_BTD
