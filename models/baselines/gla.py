"""Gated linear attention: every key channel of the memory forgets at a rate that the token sets.

    S_t = diag(alpha_t) S_(t-1) + k_t v_t^T,  o_t = S_t^T q_t,  alpha_t = sigmoid(x_t W_1 W_2 + b)^(1/16)
    y_t = W_o (swish(W_g x_t) * norm_h(o_t))

Yang et al. 2023, "Gated Linear Attention Transformers with Hardware-Efficient Training" (arXiv 2312.06635), section
4.4. As in the paper: keys half as wide as values, a decay of rank 16, the temperature 16, an RMS norm per head under a
swish gate, no short convolution, no positions. Head dims D / num_heads for values, half of it for keys.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from kernels.dispatch import gla, rms_norm_gated, with_state

RANK = 16
TEMPERATURE = 16


class TokenMixer(nn.Module):
    """x_BTD -> o_BTD."""

    def __init__(self, hidden_size: int, num_heads: int, layer_idx: int = 0, **kwargs: object) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.value_dim = hidden_size // num_heads
        self.key_dim = max(1, self.value_dim // 2)
        key_width = num_heads * self.key_dim
        self.q_proj = nn.Linear(hidden_size, key_width, bias=False)
        self.k_proj = nn.Linear(hidden_size, key_width, bias=False)
        self.v_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.g_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.decay_down = nn.Linear(hidden_size, RANK, bias=False)
        self.decay_up = nn.Linear(RANK, key_width)
        self.o_norm = nn.RMSNorm(self.value_dim, eps=1e-5)
        self.o_proj = nn.Linear(hidden_size, hidden_size, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._out(x, gla(*self._heads(x)))

    def step(self, x: torch.Tensor, state: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        x = x.unsqueeze(1)
        o, state = with_state(gla, *self._heads(x), state=state)
        return self._out(x, o).squeeze(1), state

    def _heads(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        keys = (*x.shape[:2], self.num_heads, self.key_dim)
        g = F.logsigmoid(self.decay_up(self.decay_down(x))).view(keys) / TEMPERATURE
        v = self.v_proj(x).view(*x.shape[:2], self.num_heads, self.value_dim)
        return self.q_proj(x).view(keys), self.k_proj(x).view(keys), v, g

    def _out(self, x: torch.Tensor, o: torch.Tensor) -> torch.Tensor:
        gated = rms_norm_gated(o, self.g_proj(x).view_as(o), self.o_norm.weight)
        out: torch.Tensor = self.o_proj(gated.flatten(2))
        return out

    def state_bytes(self) -> int:
        return 4 * self.num_heads * self.key_dim * self.value_dim
