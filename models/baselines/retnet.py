"""RetNet: linear attention whose heads forget at fixed rates, from about 30 steps to thousands.

    o_t = S_t^T q_t,  S_t = gamma_h S_(t-1) + k_t v_t^T,  gamma_h = 1 - 2^(-5-h),  q and k rotated by their positions
    y_t = W_o (swish(W_g x_t) * norm_h(o_t))

Sun et al. 2023, "Retentive Network" (arXiv 2307.08621), sections 2.1 and 2.2. As in the paper: rotation of queries and
keys (halves paired), swish gate, and a group norm over each head of each step, without learned gains. Left out: values
twice as wide as keys; the head dim is D / num_heads for both.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from kernels.dispatch import retention, with_state

State = tuple[int, torch.Tensor]  # position, memory


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
        return self._out(x, retention(*self._heads(x, 0)))

    def step(self, x: torch.Tensor, state: State | None = None) -> tuple[torch.Tensor, State]:
        position, memory = state or (0, None)
        x = x.unsqueeze(1)
        o, memory = with_state(retention, *self._heads(x, position), state=memory)
        return self._out(x, o).squeeze(1), (position + 1, memory)

    def _heads(self, x: torch.Tensor, start: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        heads = (*x.shape[:2], self.num_heads, self.head_dim)
        q, k, v = self.q_proj(x).view(heads), self.k_proj(x).view(heads), self.v_proj(x).view(heads)
        return rotated(q, start), rotated(k, start), v

    def _out(self, x: torch.Tensor, o: torch.Tensor) -> torch.Tensor:
        o = F.layer_norm(o, (self.head_dim,), eps=1e-5)
        out: torch.Tensor = self.o_proj(F.silu(self.g_proj(x)) * o.flatten(2))
        return out

    def state_bytes(self) -> int:
        return 4 * self.num_heads * self.head_dim**2


def rotated(x: torch.Tensor, start: int) -> torch.Tensor:
    """x_BTHK turned by its positions, counted from `start`; an odd last channel stays."""
    half = x.shape[-1] // 2
    rates = 10_000.0 ** (-torch.arange(half, device=x.device, dtype=torch.float64) / half)
    angles = torch.arange(start, start + x.shape[1], device=x.device, dtype=torch.float64)[:, None, None] * rates
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    pairs = x[..., : 2 * half]
    # Halves change places by one roll: cutting them apart and joining them takes twice as long, backwards above all.
    turned = pairs * torch.cat([cos, cos], -1) + pairs.roll(half, -1) * torch.cat([-sin, sin], -1)
    return torch.cat([turned, x[..., 2 * half :]], -1) if x.shape[-1] % 2 else turned
