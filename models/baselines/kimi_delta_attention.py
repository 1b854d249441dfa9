"""Kimi Delta Attention: Gated DeltaNet whose memory forgets at a rate of its own in every key channel.

    S_t = (I - beta_t k_t k_t^T) diag(exp(g_t)) S_(t-1) + beta_t k_t v_t^T,  o_t = S_t^T q_t
    g = -A softplus(x W_1 W_2 + dt),  beta = sigmoid(W_b x),  y = W_o (rms_norm_h(o) * sigmoid(x G_1 G_2))

Kimi Team 2025, "Kimi Linear: An Expressive, Efficient Attention Architecture" (arXiv 2510.26692), section 4. As in the
paper: short convolutions of 4 taps with SiLU, L2-normalised queries and keys, decay and output gate of rank head dim,
A per head and dt per channel as in Mamba2 (arXiv 2405.21060). Head dim D / num_heads for keys and values.
"""

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from kernels.dispatch import causal_conv, kda, rms_norm_gated, with_state

TAPS = 4

State = tuple[torch.Tensor, ...]  # of the three convolutions, of the memory


class ShortConvolution(nn.Module):
    """Depthwise causal convolution, then SiLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, TAPS).uniform_(-(TAPS**-0.5), TAPS**-0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.silu(causal_conv(x, self.weight))

    def continued(self, x: torch.Tensor, state: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        out, state = with_state(causal_conv, x, self.weight, state=state)
        return F.silu(out), state


class TokenMixer(nn.Module):
    """x_BTD -> o_BTD."""

    def __init__(self, hidden_size: int, num_heads: int, layer_idx: int = 0, **kwargs: object) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = hidden_size // num_heads
        self.q_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.k_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.v_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.b_proj = nn.Linear(hidden_size, num_heads, bias=False)
        self.q_conv = ShortConvolution(hidden_size)
        self.k_conv = ShortConvolution(hidden_size)
        self.v_conv = ShortConvolution(hidden_size)
        self.decay_proj = _low_rank(hidden_size, self.head_dim, bias=False)
        self.gate_proj = _low_rank(hidden_size, self.head_dim, bias=True)
        self.o_norm = nn.RMSNorm(self.head_dim, eps=1e-5)
        self.o_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        step = torch.empty(num_heads, self.head_dim).uniform_(math.log(0.001), math.log(0.1)).exp()
        self.A_log = nn.Parameter(torch.empty(num_heads).uniform_(1, 16).log())
        self.dt_bias = nn.Parameter((step + torch.log(-torch.expm1(-step))).flatten())  # softplus of it is step

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.q_conv(self.q_proj(x)), self.k_conv(self.k_proj(x)), self.v_conv(self.v_proj(x))
        return self._out(x, kda(*self._heads(q, k, v), *self._gates(x)))

    def step(self, x: torch.Tensor, state: State | None = None) -> tuple[torch.Tensor, State]:
        q_past, k_past, v_past, memory = state or (None, None, None, None)
        x = x.unsqueeze(1)
        q, q_past = self.q_conv.continued(self.q_proj(x), q_past)
        k, k_past = self.k_conv.continued(self.k_proj(x), k_past)
        v, v_past = self.v_conv.continued(self.v_proj(x), v_past)
        o, memory = with_state(kda, *self._heads(q, k, v), *self._gates(x), state=memory)
        return self._out(x, o).squeeze(1), (q_past, k_past, v_past, memory)

    def _heads(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        heads = (*q.shape[:2], self.num_heads, self.head_dim)
        q, k = F.normalize(q.view(heads), dim=-1, eps=1e-6), F.normalize(k.view(heads), dim=-1, eps=1e-6)
        return q, k, v.view(heads)

    def _gates(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rates = F.softplus(self.decay_proj(x) + self.dt_bias).view(*x.shape[:2], self.num_heads, self.head_dim)
        return -self.A_log.exp()[:, None] * rates, torch.sigmoid(self.b_proj(x))

    def _out(self, x: torch.Tensor, o: torch.Tensor) -> torch.Tensor:
        gated = rms_norm_gated(o, self.gate_proj(x).view_as(o), self.o_norm.weight, activation="sigmoid")
        out: torch.Tensor = self.o_proj(gated.flatten(2))
        return out

    def state_bytes(self) -> int:
        memory = self.num_heads * self.head_dim**2
        convolutions = 3 * (TAPS - 1) * self.num_heads * self.head_dim
        return 4 * (memory + convolutions)


def _low_rank(width: int, rank: int, bias: bool) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, rank, bias=False), nn.Linear(rank, width, bias=bias))
