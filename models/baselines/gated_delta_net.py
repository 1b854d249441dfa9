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

from kernels.dispatch import causal_conv, gated_delta_rule

TAPS = 4


class ShortConvolution(nn.Module):
    """Depthwise causal convolution, then SiLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, TAPS).uniform_(-(TAPS**-0.5), TAPS**-0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.silu(causal_conv(x, self.weight))


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
        heads = (*x.shape[:2], self.num_heads, self.head_dim)
        q = F.normalize(self.q_conv(self.q_proj(x)).view(heads), dim=-1, eps=1e-6)
        k = F.normalize(self.k_conv(self.k_proj(x)).view(heads), dim=-1, eps=1e-6)
        v = self.v_conv(self.v_proj(x)).view(heads)
        g = -self.A_log.exp() * F.softplus(self.a_proj(x) + self.dt_bias)
        beta = torch.sigmoid(self.b_proj(x))
        o = self.o_norm(gated_delta_rule(q, k, v, g, beta)).flatten(2)
        out: torch.Tensor = self.o_proj(o * F.silu(self.g_proj(x)))
        return out

    def state_bytes(self) -> int:
        memory = self.num_heads * self.head_dim**2
        convolutions = 3 * (TAPS - 1) * self.num_heads * self.head_dim
        return 4 * (memory + convolutions)
