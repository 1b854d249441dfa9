"""RWKV-7's time mixing: a delta rule that reads under one vector, writes under another, each channel at its own rate.

    S_t = (diag(w_t) - (a_t * kappa_t) kappa_t^T) S_(t-1) + k_t v_t^T,  o_t = S_t^T r_t
    w = exp(-e^(-1/2) sigmoid(d)),  kappa = l2norm_h(k * xi),  a = sigmoid(..),  k <- k (1 + (a - 1) alpha)
    y = W_o ((norm_h(o) + (r . (rho * k)) v) * g)

Peng et al. 2025, "RWKV-7 Goose with Expressive Dynamic State Evolution" (arXiv 2503.14456), section 4. As in the paper:
six token shifts, low-rank maps behind decay, learning rate and gate, a bonus for the current token, decays spread over
the channels at first. Left out: the mixing of values with those of the first layer, since a mixer sees its own layer
alone, and initial scales of the projections. Head dim D / num_heads.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from kernels.dispatch import dplr_delta_rule, with_state

DECAY_SCALE = -0.6065306597126334  # -exp(-1/2)

State = tuple[torch.Tensor, torch.Tensor]  # the last x, the memory


class TokenMixer(nn.Module):
    """x_BTD -> o_BTD."""

    def __init__(self, hidden_size: int, num_heads: int, layer_idx: int = 0, **kwargs: object) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = hidden_size // num_heads
        rank = max(16, 32 * round(1.8 * hidden_size**0.5 / 32))
        channel = torch.arange(hidden_size) / max(1, hidden_size - 1)
        shifts = [1 - channel**power for power in (0.2, 0.9, 0.7, 0.7, 0.9, 0.2)]
        self.shift = nn.Parameter(torch.stack(shifts))  # of r, w, k, v, a, g
        self.r_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.k_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.v_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.o_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.w_down = nn.Linear(hidden_size, rank, bias=False)
        self.w_up = nn.Linear(rank, hidden_size)
        self.a_down = nn.Linear(hidden_size, rank, bias=False)
        self.a_up = nn.Linear(rank, hidden_size)
        self.g_down = nn.Linear(hidden_size, rank, bias=False)
        self.g_up = nn.Linear(rank, hidden_size, bias=False)
        self.k_erase = nn.Parameter(torch.full((hidden_size,), 0.85))
        self.k_rate = nn.Parameter(torch.ones(hidden_size))
        self.bonus = nn.Parameter(torch.full((num_heads, self.head_dim), 0.1))
        self.o_norm = nn.GroupNorm(num_heads, hidden_size, eps=64e-5)
        with torch.no_grad():
            self.w_up.bias.copy_(-6.5 + 5 * channel**0.85)
            self.a_up.bias.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inputs, g = self._project(x, F.pad(x, (0, 0, 1, -1)))
        return self._out(dplr_delta_rule(*inputs, scale=1.0), inputs, g)

    def step(self, x: torch.Tensor, state: State | None = None) -> tuple[torch.Tensor, State]:
        last, memory = state or (torch.zeros_like(x), None)
        inputs, g = self._project(x.unsqueeze(1), last.unsqueeze(1))
        o, memory = with_state(dplr_delta_rule, *inputs, scale=1.0, state=memory)
        return self._out(o, inputs, g).squeeze(1), (x, memory)

    def _project(self, x: torch.Tensor, before: torch.Tensor) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
        heads = (*x.shape[:2], self.num_heads, self.head_dim)
        of_r, of_w, of_k, of_v, of_a, of_g = (x + (before - x) * share for share in self.shift)
        r, k, v = self.r_proj(of_r), self.k_proj(of_k), self.v_proj(of_v)
        w = DECAY_SCALE * torch.sigmoid(self.w_up(torch.tanh(self.w_down(of_w))))
        a = torch.sigmoid(self.a_up(self.a_down(of_a)))
        g = self.g_up(torch.sigmoid(self.g_down(of_g)))
        kappa = F.normalize((k * self.k_erase).view(heads), dim=-1, eps=1e-6)
        k = k * (1 + (a - 1) * self.k_rate)
        return (r.view(heads), k.view(heads), v.view(heads), -kappa, kappa * a.view(heads), w.view(heads)), g

    def _out(self, o: torch.Tensor, inputs: tuple[torch.Tensor, ...], g: torch.Tensor) -> torch.Tensor:
        r, k, v = inputs[:3]
        normed = self.o_norm(o.flatten(0, 1).flatten(1)).view_as(o)
        o = normed + (r * k * self.bonus).sum(-1, keepdim=True) * v
        out: torch.Tensor = self.o_proj(o.flatten(2) * g)
        return out

    def state_bytes(self) -> int:
        return 4 * self.num_heads * self.head_dim * (self.head_dim + 1)
