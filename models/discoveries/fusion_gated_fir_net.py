"""FusionGatedFIRNet: a gate of its own for every path, and a memory that retains a learned share.

    S_t = lambda_h S_(t-1) (I - beta_t k_t k_t^T) + beta_t v_t k_t^T,  m_t = S_t q_t
    o = sum_p sigmoid(gate_p(x)) path_p,  paths short(v), long(v), norm_h(m), v,  y = W_o o

Independent sigmoids in place of one softmax: several paths can be fully open at once, or all of them shut. Only the
memory is normalised, ahead of the gates: a norm behind them would leave nothing but their ratios, here how open they
are counts, and a head whose gates are shut is silent. The delta rule forgets by a retention factor that each head
learns.

Liu et al. 2025, "AlphaGo Moment for Model Architecture Discovery" (arXiv 2507.18074), written from its description;
filters start as the identity. Head dim D / num_heads.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from kernels.dispatch import causal_conv, gated_delta_rule, path_fusion, two_scale_fir, with_state

TAPS, SHORT, LONG = 4, 3, 64

State = tuple[torch.Tensor, ...]  # of the convolution before q, k, v; of the filters; of the memory


class TokenMixer(nn.Module):
    """x_BTD -> o_BTD."""

    def __init__(self, hidden_size: int, num_heads: int, layer_idx: int = 0, **kwargs: object) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = hidden_size // num_heads
        self.qkv_proj = nn.Linear(hidden_size, 3 * hidden_size, bias=False)
        self.b_proj = nn.Linear(hidden_size, num_heads, bias=False)
        self.qkv_conv = nn.Parameter(torch.empty(3 * hidden_size, TAPS).uniform_(-(TAPS**-0.5), TAPS**-0.5))
        self.short_fir = nn.Parameter(identity_filter(hidden_size, SHORT))
        self.long_fir = nn.Parameter(identity_filter(hidden_size, LONG))
        self.router = nn.Linear(hidden_size, num_heads * 4)
        self.retention = nn.Parameter(torch.linspace(3.0, 7.0, num_heads))
        self.m_norm = nn.RMSNorm(self.head_dim, eps=1e-5)
        self.o_proj = nn.Linear(hidden_size, hidden_size, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self._heads(causal_conv(self.qkv_proj(x), self.qkv_conv))
        short, long = two_scale_fir(v.flatten(2), self.short_fir, self.long_fir)
        memory = gated_delta_rule(q, k, v, *self._gates(x))
        return self._out(x, v, short.view_as(v), long.view_as(v), memory)

    def step(self, x: torch.Tensor, state: State | None = None) -> tuple[torch.Tensor, State]:
        recent, values, held = state or (None, None, None)
        x = x.unsqueeze(1)
        filtered, recent = with_state(causal_conv, self.qkv_proj(x), self.qkv_conv, state=recent)
        q, k, v = self._heads(filtered)
        (short, long), values = with_state(two_scale_fir, v.flatten(2), self.short_fir, self.long_fir, state=values)
        memory, held = with_state(gated_delta_rule, q, k, v, *self._gates(x), state=held)
        out = self._out(x, v, short.view_as(v), long.view_as(v), memory)
        return out.squeeze(1), (recent, values, held)

    def _heads(self, filtered: torch.Tensor) -> tuple[torch.Tensor, ...]:
        q, k, v = F.silu(filtered).view(*filtered.shape[:2], 3, self.num_heads, self.head_dim).unbind(2)
        return F.normalize(q, dim=-1, eps=1e-6), F.normalize(k, dim=-1, eps=1e-6), v

    def _gates(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        beta = torch.sigmoid(self.b_proj(x))
        return F.logsigmoid(self.retention).expand_as(beta), beta

    def _out(
        self, x: torch.Tensor, v: torch.Tensor, short: torch.Tensor, long: torch.Tensor, memory: torch.Tensor
    ) -> torch.Tensor:
        logits = self.router(x).view(*x.shape[:2], self.num_heads, 4)
        o = path_fusion([short, long, self.m_norm(memory), v], logits, gate="sigmoid")
        out: torch.Tensor = self.o_proj(o.flatten(2))
        return out

    def state_bytes(self) -> int:
        width = self.num_heads * self.head_dim
        return 4 * (width * self.head_dim + 3 * (TAPS - 1) * width + (LONG - 1) * width)


def identity_filter(width: int, taps: int) -> torch.Tensor:
    """weight_DW that hands its input on, with a little noise."""
    weight = 0.02 * torch.randn(width, taps)
    weight[:, -1] += 1.0
    return weight
