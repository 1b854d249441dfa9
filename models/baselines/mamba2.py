"""Mamba-2: a state space whose heads forget by a scalar that the token sets, with one pair of input and output maps.

    S_t = exp(-A delta_t) S_(t-1) + delta_t B_t x_t^T,  y_t = S_t^T C_t + D x_t,  delta_t = softplus(W_d u_t + dt)
    x, B, C = silu(conv4(W u)),  out = W_o rms_norm(y * silu(z))

Dao and Gu 2024, "Transformers are SSMs" (arXiv 2405.21060), section 7. As in the paper: inner width 2 D, B and C shared
by all heads, a short convolution with bias over x, B and C together, gates before the norm, A uniform in 1 to 16 and
softplus(dt) log-uniform in 0.001 to 0.1 at first. The state has 128 channels, or D / 2 where that is less: small hosts
would else spend their parameters on B and C.
"""

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from kernels.dispatch import causal_conv, simple_gla, with_state

TAPS = 4
STATE_CHANNELS = 128

State = tuple[torch.Tensor, torch.Tensor]  # of the convolution, of the memory


class TokenMixer(nn.Module):
    """u_BTD -> o_BTD; N state channels, P channels of x per head."""

    def __init__(self, hidden_size: int, num_heads: int, layer_idx: int = 0, **kwargs: object) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.inner = 2 * hidden_size
        self.channels = min(STATE_CHANNELS, max(1, hidden_size // 2))
        mixed = self.inner + 2 * self.channels
        self.in_proj = nn.Linear(hidden_size, self.inner + mixed + num_heads, bias=False)
        self.conv = nn.Parameter(torch.empty(mixed, TAPS).uniform_(-(TAPS**-0.5), TAPS**-0.5))
        self.conv_bias = nn.Parameter(torch.empty(mixed).uniform_(-(TAPS**-0.5), TAPS**-0.5))
        step = torch.empty(num_heads).uniform_(math.log(0.001), math.log(0.1)).exp()
        self.A_log = nn.Parameter(torch.empty(num_heads).uniform_(1, 16).log())
        self.dt_bias = nn.Parameter(step + torch.log(-torch.expm1(-step)))  # softplus of it is step
        self.D = nn.Parameter(torch.ones(num_heads))
        self.o_norm = nn.RMSNorm(self.inner, eps=1e-5)
        self.o_proj = nn.Linear(self.inner, hidden_size, bias=False)

    def forward(self, u: torch.Tensor) -> torch.Tensor:
        z, mixed, dt = self._project(u)
        x, b, c = self._split(causal_conv(mixed, self.conv))
        delta = F.softplus(dt + self.dt_bias)
        y = simple_gla(c, b, x * delta.unsqueeze(-1), -self.A_log.exp() * delta, scale=1.0)
        return self._out(z, x, y)

    def step(self, u: torch.Tensor, state: State | None = None) -> tuple[torch.Tensor, State]:
        history, memory = state or (None, None)
        z, mixed, dt = self._project(u.unsqueeze(1))
        filtered, history = with_state(causal_conv, mixed, self.conv, state=history)
        x, b, c = self._split(filtered)
        delta = F.softplus(dt + self.dt_bias)
        inputs = (c, b, x * delta.unsqueeze(-1), -self.A_log.exp() * delta)
        y, memory = with_state(simple_gla, *inputs, scale=1.0, state=memory)
        return self._out(z, x, y).squeeze(1), (history, memory)

    def _project(self, u: torch.Tensor) -> tuple[torch.Tensor, ...]:
        widths = [self.inner, self.inner + 2 * self.channels, self.num_heads]
        return torch.split(self.in_proj(u), widths, -1)

    def _split(self, filtered: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        mixed = F.silu(filtered + self.conv_bias)
        x, b, c = torch.split(mixed, [self.inner, self.channels, self.channels], -1)
        shared = (*b.shape[:2], self.num_heads, self.channels)
        return (
            x.view(*x.shape[:2], self.num_heads, -1),
            b.unsqueeze(2).expand(shared),
            c.unsqueeze(2).expand(shared),
        )

    def _out(self, z: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        y = (y + self.D[:, None] * x).flatten(2)
        out: torch.Tensor = self.o_proj(self.o_norm(y * F.silu(z)))
        return out

    def state_bytes(self) -> int:
        return 4 * (self.inner * self.channels + (TAPS - 1) * (self.inner + 2 * self.channels))
