"""Softmax attention with rotary positions: what linear-time mixers are measured against, at a cost quadratic in T.

    o_t = sum over s <= t of softmax_s(q_t . k_s / sqrt(K)) v_s,  q and k rotated by their positions

Vaswani et al. 2017 (arXiv 1706.03762), section 3.2; rotary positions of Su et al. 2021 (arXiv 2104.09864), section
3.2.2, halves paired. Head dim D / num_heads. Its decoding state, all keys and values, grows with T.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

State = tuple[torch.Tensor, torch.Tensor]  # k, v: [B, H, T, K]


class TokenMixer(nn.Module):
    """x_BTD -> o_BTD."""

    def __init__(self, hidden_size: int, num_heads: int, layer_idx: int = 0, **kwargs: object) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = hidden_size // num_heads
        self.q_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.k_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.v_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.o_proj = nn.Linear(hidden_size, hidden_size, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self._heads(x, 0)
        o = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        out: torch.Tensor = self.o_proj(o.transpose(1, 2).flatten(2))
        return out

    def step(self, x: torch.Tensor, state: State | None = None) -> tuple[torch.Tensor, State]:
        q, k, v = self._heads(x.unsqueeze(1), 0 if state is None else state[0].shape[2])
        if state is not None:
            k, v = torch.cat([state[0], k], 2), torch.cat([state[1], v], 2)
        o = F.scaled_dot_product_attention(q, k, v)
        return self.o_proj(o.flatten(1)), (k, v)

    def _heads(self, x: torch.Tensor, start: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        heads = (*x.shape[:2], self.num_heads, self.head_dim)
        q, k, v = (p(x).view(heads).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj))
        return rotated(q, start), rotated(k, start), v


def rotated(x: torch.Tensor, start: int) -> torch.Tensor:
    """x_BHTK turned by its positions, counted from `start`; an odd last channel stays."""
    half = x.shape[-1] // 2
    rates = 10_000.0 ** (-torch.arange(half, device=x.device, dtype=torch.float64) / half)
    angles = torch.arange(start, start + x.shape[2], device=x.device, dtype=torch.float64)[:, None] * rates
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    pairs = x[..., : 2 * half]
    # Halves change places by one roll: cutting them apart and joining them takes twice as long, backwards above all.
    turned = pairs * torch.cat([cos, cos], -1) + pairs.roll(half, -1) * torch.cat([-sin, sin], -1)
    return torch.cat([turned, x[..., 2 * half :]], -1) if x.shape[-1] % 2 else turned
