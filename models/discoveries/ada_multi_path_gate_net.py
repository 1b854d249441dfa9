"""AdaMultiPathGateNet: one gate whose logits add what all, one head and one token want, kept from collapsing.

    S_t = S_(t-1) (I - beta_t k_t k_t^T) + beta_t v_t k_t^T,  m_t = S_t q_t
    o = sum_p (f + (1 - 4 f) softmax_p(u + u_h + u_h(x))) path_p,  paths short(v), long(v), m, v,  y = W_o norm_h(o)

A small floor f and a persistent penalty on low entropy, in training alone: what adding

    0.05 / 64 * sum over sequences (mean over steps and heads of sum_p s_p log s_p),  s = softmax_p(u + u_h + u_h(x))

to the loss would give. A mixer has no loss of its own, so the penalty's gradient is added where the logits are used,
whatever gradient arrives there: that one fades when the gate collapses. Its weight per sequence is fixed, since a piece
of a batch cannot know its share: pieces add up to the whole exactly, a batch of 64 sequences has 0.05 times the mean,
one of B has B / 64 times that. A loss that is scaled as a whole (by a gradient scaler, say) does not scale it.

Liu et al. 2025, "AlphaGo Moment for Model Architecture Discovery" (arXiv 2507.18074), written from its description;
filters start as the identity. Head dim D / num_heads.
"""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from kernels.dispatch import causal_conv, delta_rule, path_fusion, two_scale_fir, with_state

TAPS, SHORT, LONG = 4, 3, 31
FLOOR = 0.02
ENTROPY_WEIGHT, BATCH = 0.05, 64  # of lacking entropy beside the mean loss of a batch of that many sequences

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
        self.global_logits = nn.Parameter(torch.zeros(4))
        self.head_logits = nn.Parameter(torch.zeros(num_heads, 4))
        self.router = nn.Linear(hidden_size, num_heads * 4, bias=False)
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
        logits = self.router(x).view(*x.shape[:2], self.num_heads, 4) + self.head_logits + self.global_logits
        if self.training:
            logits = kept_open(logits)
        o = path_fusion([short, long, memory, v], logits, floor=FLOOR)
        out: torch.Tensor = self.o_proj(self.o_norm(o).flatten(2))
        return out

    def state_bytes(self) -> int:
        width = self.num_heads * self.head_dim
        return 4 * (width * self.head_dim + 3 * (TAPS - 1) * width + (LONG - 1) * width)


def identity_filter(width: int, taps: int) -> torch.Tensor:
    """weight_DW that hands its input on, with a little noise."""
    weight = 0.02 * torch.randn(width, taps)
    weight[:, -1] += 1.0
    return weight


def kept_open(logits_BTHP: torch.Tensor) -> torch.Tensor:
    """The same logits; their gradient gets that of lacking entropy, weighted as above."""
    strength = ENTROPY_WEIGHT / (BATCH * logits_BTHP.shape[1] * logits_BTHP.shape[2])
    out: torch.Tensor = EntropyPenalty.apply(logits_BTHP, strength)  # type: ignore[no-untyped-call]
    return out


class EntropyPenalty(torch.autograd.Function):
    """Hands logits on; backward adds the gradient of strength * sum s log s, s the softmax over the last dimension."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, strength: float) -> torch.Tensor:
        ctx.save_for_backward(logits)
        ctx.strength = strength
        return logits.view_as(logits)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        logits = ctx.saved_tensors[0]
        logs = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
        shares = logs.exp()
        entropy = -(shares * logs).sum(-1, keepdim=True)
        return (grads[0] + ctx.strength * shares * (logs + entropy)).to(logits.dtype), None
