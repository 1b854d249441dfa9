"""PathGateFusionNet: a router in two stages, first copy or context, then which context.

    S_t = S_(t-1) (I - beta_t k_t k_t^T) + beta_t v_t k_t^T,  m_t = S_t q_t
    o = sum_p (f_h + (1 - 4 f_h) w_p) path_p,  paths v, short(v), long(v), m
    w = [b_1, b_2 s_1, b_2 s_2, b_2 s_3],  b and s softmaxes of gate(x);  f_h = 0.02 + 0.08 sigmoid(rho_h)
    y = W_o (sigmoid(W_g x)_h norm_h(o))

Stage one splits the budget between the direct value path and a contextual pool, stage two the pool over a short filter,
a long one and the delta rule. A share f_h of every path is always on and learned per head, never below 0.02, so that
every path gets a gradient however the router decides. Each head has an output gate; it stands behind the norm, which
would cancel it.

Any of PARTS can be left out, so that its effect can be measured: a path takes its logits along, and where one group or
one path is left there is nothing to decide about it.

Liu et al. 2025, "AlphaGo Moment for Model Architecture Discovery" (arXiv 2507.18074), written from its description;
filters start as the identity. Head dim D / num_heads.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from kernels.dispatch import causal_conv, delta_rule, path_fusion, two_scale_fir, with_state

PARTS = ("direct", "short_fir", "long_fir", "delta_rule", "qkv_conv", "always_on", "head_gate")
FILTERS, CONTEXT = ("short_fir", "long_fir"), ("short_fir", "long_fir", "delta_rule")

TAPS, SHORT, LONG = 4, 3, 31
FLOOR, MOST = 0.02, 0.1  # of what is always on of each path

State = dict[str, torch.Tensor]  # of the convolution before q, k, v; of the filters; of the memory


class TokenMixer(nn.Module):
    """x_BTD -> o_BTD."""

    def __init__(
        self, hidden_size: int, num_heads: int, layer_idx: int = 0, without: tuple[str, ...] = (), **kwargs: object
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = hidden_size // num_heads
        self.parts = frozenset(PARTS).difference(without)
        self.paths = [path for path in ("direct", *CONTEXT) if path in self.parts]
        self.num_read = 3 if "delta_rule" in self.parts else 1  # q, k and v, or v alone
        self.qkv_proj = nn.Linear(hidden_size, self.num_read * hidden_size, bias=False)
        if "delta_rule" in self.parts:
            self.b_proj = nn.Linear(hidden_size, num_heads, bias=False)
        if "qkv_conv" in self.parts:
            bound = TAPS**-0.5
            self.qkv_conv = nn.Parameter(torch.empty(self.num_read * hidden_size, TAPS).uniform_(-bound, bound))
        if "short_fir" in self.parts:
            self.short_fir = nn.Parameter(identity_filter(hidden_size, SHORT))
        if "long_fir" in self.parts:
            self.long_fir = nn.Parameter(identity_filter(hidden_size, LONG))
        self.num_context = sum(path in self.parts for path in CONTEXT)
        self.num_budgets = 2 if "direct" in self.parts and self.num_context else 0
        self.num_logits = self.num_budgets + (self.num_context if self.num_context > 1 else 0)
        if self.num_logits:
            self.router = nn.Sequential(
                nn.Linear(hidden_size, hidden_size // 2),
                nn.GELU(),
                nn.Linear(hidden_size // 2, num_heads * self.num_logits),
            )
            if "always_on" in self.parts:
                self.residual = nn.Parameter(torch.full((num_heads,), -2.0))
        if "head_gate" in self.parts:
            self.head_gate = nn.Linear(hidden_size, num_heads)
        self.o_norm = nn.RMSNorm(self.head_dim, eps=1e-5)
        self.o_proj = nn.Linear(hidden_size, hidden_size, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        read = self.qkv_proj(x)
        *qk, v = self._heads(causal_conv(read, self.qkv_conv) if "qkv_conv" in self.parts else read)
        paths = {"direct": v}
        if len(filters := self._filters()) > 1:
            paths |= self._filtered(*two_scale_fir(v.flatten(2), *filters))
        elif filters:
            paths |= self._filtered(causal_conv(v.flatten(2), *filters))
        if qk:
            q, k = qk
            paths["delta_rule"] = delta_rule(q, k, v, torch.sigmoid(self.b_proj(x)))
        return self._out(x, paths)

    def step(self, x: torch.Tensor, state: State | None = None) -> tuple[torch.Tensor, State]:
        before: State = state or {}
        kept: State = {}
        x = x.unsqueeze(1)
        read = self.qkv_proj(x)
        if "qkv_conv" in self.parts:
            read, kept["conv"] = with_state(causal_conv, read, self.qkv_conv, state=before.get("conv"))
        *qk, v = self._heads(read)
        paths = {"direct": v}
        if len(filters := self._filters()) > 1:
            both, kept["filters"] = with_state(two_scale_fir, v.flatten(2), *filters, state=before.get("filters"))
            paths |= self._filtered(*both)
        elif filters:
            one, kept["filters"] = with_state(causal_conv, v.flatten(2), *filters, state=before.get("filters"))
            paths |= self._filtered(one)
        if qk:
            beta = torch.sigmoid(self.b_proj(x))
            paths["delta_rule"], kept["memory"] = with_state(delta_rule, *qk, v, beta, state=before.get("memory"))
        return self._out(x, paths).squeeze(1), kept

    def _heads(self, read: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """q, k and v, or v alone."""
        heads = F.silu(read).view(*read.shape[:2], self.num_read, self.num_heads, self.head_dim).unbind(2)
        return (*(F.normalize(head, dim=-1, eps=1e-6) for head in heads[:-1]), heads[-1])

    def _filters(self) -> list[nn.Parameter]:
        short = [self.short_fir] if "short_fir" in self.parts else []
        return [*short, self.long_fir] if "long_fir" in self.parts else short

    def _filtered(self, *outputs: torch.Tensor) -> dict[str, torch.Tensor]:
        names = [name for name in FILTERS if name in self.parts]
        shape = (*outputs[0].shape[:2], self.num_heads, self.head_dim)
        return {name: out.view(shape) for name, out in zip(names, outputs, strict=True)}

    def _out(self, x: torch.Tensor, paths: dict[str, torch.Tensor]) -> torch.Tensor:
        kept = [paths[name] for name in self.paths]
        o = self._fused(x, kept) if self.num_logits else kept[0] if kept else torch.zeros_like(paths["direct"])
        o = self.o_norm(o)
        if "head_gate" in self.parts:
            o = torch.sigmoid(self.head_gate(x)).unsqueeze(-1) * o
        out: torch.Tensor = self.o_proj(o.flatten(2))
        return out

    def _fused(self, x: torch.Tensor, paths: list[torch.Tensor]) -> torch.Tensor:
        logits = self.router(x).view(*x.shape[:2], self.num_heads, self.num_logits)
        floor: torch.Tensor | float = 0.0
        if "always_on" in self.parts:
            floor = (FLOOR + (MOST - FLOOR) * torch.sigmoid(self.residual)).unsqueeze(-1)
        if not self.num_budgets:
            return path_fusion(paths, logits, floor=floor)
        budgets, within = logits.split([2, self.num_logits - 2], -1)
        alone = torch.zeros_like(budgets[..., :1])  # the share of a path in its group of one needs no logit
        within = within if self.num_context > 1 else alone
        groups = (1, self.num_context)
        logits = torch.cat([budgets, alone, within], -1)
        return path_fusion(paths, logits, gate="two_stage", groups=groups, floor=floor)

    def state_bytes(self) -> int:
        width = self.num_heads * self.head_dim
        memory = width * self.head_dim if "delta_rule" in self.parts else 0
        conv = self.num_read * (TAPS - 1) * width if "qkv_conv" in self.parts else 0
        taps = LONG if "long_fir" in self.parts else SHORT if "short_fir" in self.parts else 1
        return 4 * (memory + conv + (taps - 1) * width)


def identity_filter(width: int, taps: int) -> torch.Tensor:
    """weight_DW that hands its input on, with a little noise."""
    weight = 0.02 * torch.randn(width, taps)
    weight[:, -1] += 1.0
    return weight
