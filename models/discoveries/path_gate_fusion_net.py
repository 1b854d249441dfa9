"""PathGateFusionNet: a router in two stages, first copy or context, then which context.

    S_t = S_(t-1) (I - beta_t k_t k_t^T) + beta_t v_t k_t^T,  m_t = S_t q_t
    o = sum_p (f_h + (1 - 4 f_h) w_p) path_p,  paths v, short(v), long(v), m
    w = [b_1, b_2 s_1, b_2 s_2, b_2 s_3],  b and s softmaxes of gate(x);  f_h = 0.02 + 0.08 sigmoid(rho_h)
    y = W_o (sigmoid(W_g x)_h norm_h(o))

Stage one splits the budget between the direct value path and a contextual pool, stage two the pool over a short filter,
a long one and the delta rule. A share f_h of every path is always on and learned per head, never below 0.02, so that
every path gets a gradient however the router decides. Each head has an output gate; it stands behind the norm, which
would cancel it.

Liu et al. 2025, "AlphaGo Moment for Model Architecture Discovery" (arXiv 2507.18074), written from its description;
filters start as the identity. Head dim D / num_heads.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from kernels.dispatch import causal_conv, delta_rule, path_fusion, two_scale_fir, with_state

TAPS, SHORT, LONG = 4, 3, 31
FLOOR, MOST = 0.02, 0.1  # of what is always on of each path

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
        self.router = nn.Sequential(
            nn.Linear(hidden_size, hidden_size // 2), nn.GELU(), nn.Linear(hidden_size // 2, num_heads * 5)
        )
        self.residual = nn.Parameter(torch.full((num_heads,), -2.0))
        self.head_gate = nn.Linear(hidden_size, num_heads)
        self.o_norm = nn.RMSNorm(self.head_dim, eps=1e-5)
        self.o_proj = nn.Linear(hidden_size, hidden_size, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self._heads(causal_conv(self.qkv_proj(x), self.qkv_conv))
        short, long = two_scale_fir(v.flatten(2), self.short_fir, self.long_fir)
        memory = delta_rule(q, k, v, torch.sigmoid(self.b_proj(x)))
        return self._out(x, v, short.view_as(v), long.view_as(v), memory)

    def step(self, x: torch.Tensor, state: State | None = None) -> tuple[torch.Tensor, State]:
        recent, values, held = state or (None, None, None)
        x = x.unsqueeze(1)
        filtered, recent = with_state(causal_conv, self.qkv_proj(x), self.qkv_conv, state=recent)
        q, k, v = self._heads(filtered)
        (short, long), values = with_state(two_scale_fir, v.flatten(2), self.short_fir, self.long_fir, state=values)
        memory, held = with_state(delta_rule, q, k, v, torch.sigmoid(self.b_proj(x)), state=held)
        out = self._out(x, v, short.view_as(v), long.view_as(v), memory)
        return out.squeeze(1), (recent, values, held)

    def _heads(self, filtered: torch.Tensor) -> tuple[torch.Tensor, ...]:
        q, k, v = F.silu(filtered).view(*filtered.shape[:2], 3, self.num_heads, self.head_dim).unbind(2)
        return F.normalize(q, dim=-1, eps=1e-6), F.normalize(k, dim=-1, eps=1e-6), v

    def _out(
        self, x: torch.Tensor, v: torch.Tensor, short: torch.Tensor, long: torch.Tensor, memory: torch.Tensor
    ) -> torch.Tensor:
        budgets, within = self.router(x).view(*x.shape[:2], self.num_heads, 5).split([2, 3], -1)
        alone = torch.zeros_like(budgets[..., :1])  # the share of v in its group of one needs no logit
        floor = FLOOR + (MOST - FLOOR) * torch.sigmoid(self.residual)
        o = path_fusion(
            [v, short, long, memory],
            torch.cat([budgets, alone, within], -1),
            gate="two_stage",
            groups=(1, 3),
            floor=floor.unsqueeze(-1),
        )
        gated = torch.sigmoid(self.head_gate(x)).unsqueeze(-1) * self.o_norm(o)
        out: torch.Tensor = self.o_proj(gated.flatten(2))
        return out

    def state_bytes(self) -> int:
        width = self.num_heads * self.head_dim
        return 4 * (width * self.head_dim + 3 * (TAPS - 1) * width + (LONG - 1) * width)


def identity_filter(width: int, taps: int) -> torch.Tensor:
    """weight_DW that hands its input on, with a little noise."""
    weight = 0.02 * torch.randn(width, taps)
    weight[:, -1] += 1.0
    return weight
