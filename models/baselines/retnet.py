"""RetNet: linear attention whose heads forget at fixed rates, from about 30 steps to thousands.

    o_t = S_t^T q_t,  S_t = gamma_h S_(t-1) + k_t v_t^T,  gamma_h = 1 - 2^(-5-h)
    y_t = W_o (swish(W_g x_t) * norm_h(o_t))

Sun et al. 2023, "Retentive Network" (arXiv 2307.08621), sections 2.1 and 2.2. As in the paper: swish gate, and a group
norm over each head of each step, without learned gains. Left out: the rotation of q and k (xPos), so positions show
through the decay alone; and values twice as wide as keys: the head dim is D / num_heads for both.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from kernels.dispatch import retention


class TokenMixer(nn.Module):
    """x_BTD -> o_BTD."""

    def __init__(self, hidden_size: int, num_heads: int, layer_idx: int = 0, **kwargs: object) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = hidden_size // num_heads
        self.q_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.k_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.v_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.g_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.o_proj = nn.Linear(hidden_size, hidden_size, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        heads = (*x.shape[:2], self.num_heads, self.head_dim)
        q, k, v = self.q_proj(x).view(heads), self.k_proj(x).view(heads), self.v_proj(x).view(heads)
        o = F.layer_norm(retention(q, k, v), (self.head_dim,), eps=1e-5)
        out: torch.Tensor = self.o_proj(F.silu(self.g_proj(x)) * o.flatten(2))
        return out

    def state_bytes(self) -> int:
        return 4 * self.num_heads * self.head_dim**2
