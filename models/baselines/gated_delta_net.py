"""Gated DeltaNet: the delta rule corrects single memories, a data-dependent decay clears many at once.

    S_t = exp(g_t) S_(t-1) (I - beta_t k_t k_t^T) + beta_t v_t k_t^T,  o_t = S_t q_t
    g = -A softplus(W_a x + dt),  beta = sigmoid(W_b x),  y = W_o (rms_norm_h(o) * silu(W_g x))

Yang et al. 2024, "Gated Delta Networks: Improving Mamba2 with Delta Rule" (arXiv 2412.06464), section 3; the decay and
its initialisation (A uniform in 1 to 16, softplus(dt) log-uniform in 0.001 to 0.1) are those of Mamba2 (arXiv
2405.21060). As in the paper: short convolutions of 4 taps with SiLU, L2-normalised queries and keys, gated RMS norm per
head. Left out: values twice as wide as keys; the head dim is D / num_heads for both.
"""

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from kernels.dispatch import causal_conv, gated_delta_rule, rms_norm_gated, with_state

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
        self.g_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.a_proj = nn.Linear(hidden_size, num_heads, bias=False)
        self.b_proj = nn.Linear(hidden_size, num_heads, bias=False)
        self.q_conv = ShortConvolution(hidden_size)
        self.k_conv = ShortConvolution(hidden_size)
        self.v_conv = ShortConvolution(hidden_size)
        self.o_norm = nn.RMSNorm(self.head_dim, eps=1e-5)
        self.o_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        step = torch.empty(num_heads).uniform_(math.log(0.001), math.log(0.1)).exp()
        self.A_log = nn.Parameter(torch.empty(num_heads).uniform_(1, 16).log())
        self.dt_bias = nn.Parameter(step + torch.log(-torch.expm1(-step)))  # softplus of it is step

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.q_conv(self.q_proj(x)), self.k_conv(self.k_proj(x)), self.v_conv(self.v_proj(x))
        return self._out(x, gated_delta_rule(*self._heads(q, k, v), *self._gates(x)))

    def step(self, x: torch.Tensor, state: State | None = None) -> tuple[torch.Tensor, State]:
        q_past, k_past, v_past, memory = state or (None, None, None, None)
        x = x.unsqueeze(1)
        q, q_past = self.q_conv.continued(self.q_proj(x), q_past)
        k, k_past = self.k_conv.continued(self.k_proj(x), k_past)
        v, v_past = self.v_conv.continued(self.v_proj(x), v_past)
        o, memory = with_state(gated_delta_rule, *self._heads(q, k, v), *self._gates(x), state=memory)
        return self._out(x, o).squeeze(1), (q_past, k_past, v_past, memory)

    def _heads(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        heads = (*q.shape[:2], self.num_heads, self.head_dim)
        q, k = F.normalize(q.view(heads), dim=-1, eps=1e-6), F.normalize(k.view(heads), dim=-1, eps=1e-6)
        return q, k, v.view(heads)

    def _gates(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        g = -self.A_log.exp() * F.softplus(self.a_proj(x) + self.dt_bias)
        return g, torch.sigmoid(self.b_proj(x))

    def _out(self, x: torch.Tensor, o: torch.Tensor) -> torch.Tensor:
        gated = rms_norm_gated(o, self.g_proj(x).view_as(o), self.o_norm.weight)
        out: torch.Tensor = self.o_proj(gated.flatten(2))
        return out

    def state_bytes(self) -> int:
        memory = self.num_heads * self.head_dim**2
        convolutions = 3 * (TAPS - 1) * self.num_heads * self.head_dim
        return 4 * (memory + convolutions)
