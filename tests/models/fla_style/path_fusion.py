"""Four paths (a short and a long filter of the values, the delta rule, the values themselves) under a gate of two
stages, written against flash-linear-attention.

Sources: Yang et al. 2024, "Parallelizing Linear Transformers with the Delta Rule over Sequence Length" (arXiv
2406.06484); filters as in Fu et al. 2022 (arXiv 2212.14052); Schlag et al. 2021 (arXiv 2102.11174) for sum_norm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn as nn
from einops import rearrange
from fla.layers.utils import get_unpad_data, index_first_axis, pad_input
from fla.modules import RMSNorm, ShortConvolution
from fla.modules.l2norm import l2norm
from fla.ops.delta_rule import chunk_delta_rule, fused_recurrent_delta_rule
from torch.nn import functional as F  # noqa: N812

if TYPE_CHECKING:
    from fla.models.utils import Cache
    from transformers.processing_utils import Unpack


def elu_p1(x: torch.Tensor) -> torch.Tensor:
    return (F.elu(x, 1.0, False) + 1.0).to(x)


def sum_norm(x: torch.Tensor) -> torch.Tensor:
    return (x / x.sum(-1, keepdim=True)).to(x)


class DepthwiseFIRConv1d(nn.Module):
    """A causal filter of each channel of each head, its latest tap 1 and the others 0 to begin with."""

    def __init__(self, num_heads: int, head_dim: int, kernel_size: int) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        filters = torch.zeros(num_heads, head_dim, kernel_size)
        filters[..., -1] = 1.0
        self.filters = nn.Parameter(filters + 0.01 * torch.randn_like(filters))

    def forward(self, x: torch.Tensor, cache: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        _, _, h, _ = x.shape
        x = rearrange(x, "b l h d -> b (h d) l")
        if cache is None:
            cache = x.new_zeros(*x.shape[:2], self.kernel_size - 1)
        x = torch.cat([cache, x], dim=-1)
        weight = rearrange(self.filters, "h d k -> (h d) 1 k")
        y = F.conv1d(x, weight, groups=weight.shape[0])
        return rearrange(y, "b (h d) l -> b l h d", h=h), x[..., -(self.kernel_size - 1) :]


class TwoStageGate(nn.Module):
    """Between the filters and the recurrence first, then within each pair; a share of each path for each head."""

    def __init__(self, hidden_size: int, num_heads: int, hidden_dim: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.inner = nn.Linear(hidden_size, hidden_dim)
        self.outer_logits = nn.Linear(hidden_dim, num_heads * 2)
        self.inner_logits = nn.Linear(hidden_dim, num_heads * 4)
        self.log_temperature = nn.Parameter(torch.zeros(num_heads, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = F.gelu(self.inner(x))
        outer = rearrange(self.outer_logits(hidden), "b l (h p) -> b l h p", h=self.num_heads)
        inner = rearrange(self.inner_logits(hidden), "b l (h p c) -> b l h p c", h=self.num_heads, p=2)
        outer = torch.softmax(outer * self.log_temperature.exp(), dim=-1)
        return rearrange(outer.unsqueeze(-1) * torch.softmax(inner, dim=-1), "b l h p c -> b l h (p c)")


class PathFusionNet(nn.Module):
    def __init__(
        self,
        mode: str = "chunk",
        d_model: int | None = None,
        hidden_size: int = 1024,
        expand_k: float = 1.0,
        expand_v: float = 1.0,
        num_heads: int = 4,
        use_beta: bool = True,
        conv_size: int = 4,
        fir_short: int = 3,
        fir_long: int = 31,
        gate_hidden: int = 32,
        layer_idx: int | None = None,
        qk_activation: str = "silu",
        qk_norm: str = "l2",
        norm_eps: float = 1e-5,
        **kwargs,
    ) -> None:
        super().__init__()
        if d_model is not None:
            hidden_size = d_model
        self.mode = mode
        self.qk_activation = qk_activation
        self.qk_norm = qk_norm
        self.use_beta = use_beta
        self.num_heads = num_heads
        self.layer_idx = layer_idx
        self.head_k_dim = int(hidden_size * expand_k) // num_heads
        self.head_v_dim = int(hidden_size * expand_v) // num_heads
        key_dim, value_dim = num_heads * self.head_k_dim, num_heads * self.head_v_dim

        self.q_proj = nn.Linear(hidden_size, key_dim, bias=False)
        self.k_proj = nn.Linear(hidden_size, key_dim, bias=False)
        self.v_proj = nn.Linear(hidden_size, value_dim, bias=False)
        if use_beta:
            self.b_proj = nn.Linear(hidden_size, num_heads, bias=False)
        act = "silu" if qk_activation == "silu" else None
        self.q_conv1d = ShortConvolution(hidden_size=key_dim, kernel_size=conv_size, activation=act)
        self.k_conv1d = ShortConvolution(hidden_size=key_dim, kernel_size=conv_size, activation=act)
        self.v_conv1d = ShortConvolution(hidden_size=value_dim, kernel_size=conv_size, activation="silu")
        self.fir_short = DepthwiseFIRConv1d(num_heads, self.head_v_dim, fir_short)
        self.fir_long = DepthwiseFIRConv1d(num_heads, self.head_v_dim, fir_long)
        self.fusion_gate = TwoStageGate(hidden_size, num_heads, gate_hidden)
        self.o_norm = RMSNorm(self.head_v_dim, eps=norm_eps)
        self.o_proj = nn.Linear(value_dim, hidden_size, bias=False)

    def _activated(self, x: torch.Tensor) -> torch.Tensor:
        if self.qk_activation == "relu":
            x = x.relu()
        elif self.qk_activation == "elu":
            x = elu_p1(x)
        return sum_norm(x) if self.qk_norm == "sum" else l2norm(x)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = False,
        output_attentions: bool | None = False,
        **kwargs: Unpack[dict],
    ) -> tuple[torch.Tensor, torch.Tensor | None, Cache | None]:
        if attention_mask is not None:
            assert attention_mask.ndim == 2, "attention_mask must be [batch, seq_len]"
        batch_size, seq_len, _ = hidden_states.shape
        last_state = None
        if past_key_values is not None and len(past_key_values) > self.layer_idx:
            last_state = past_key_values[self.layer_idx]

        cu_seqlens = kwargs.get("cu_seqlens")
        packed = hidden_states
        if attention_mask is not None:
            indices, cu_seqlens, _ = get_unpad_data(attention_mask[:, -seq_len:])
            packed = index_first_axis(rearrange(hidden_states, "b s ... -> (b s) ..."), indices).unsqueeze(0)

        conv_states, fir_states = (None, None, None), (None, None)
        if last_state is not None:
            conv_states, fir_states = last_state["conv_state"][:3], last_state["conv_state"][3:]
        (q, conv_q), (k, conv_k), (v, conv_v) = (
            conv(x=proj(packed), cache=state, output_final_state=use_cache, cu_seqlens=cu_seqlens)
            for conv, proj, state in zip(
                (self.q_conv1d, self.k_conv1d, self.v_conv1d),
                (self.q_proj, self.k_proj, self.v_proj),
                conv_states,
                strict=True,
            )
        )
        q, k = (self._activated(rearrange(x, "... (h d) -> ... h d", d=self.head_k_dim)) for x in (q, k))
        v = rearrange(v, "... (h d) -> ... h d", d=self.head_v_dim)
        beta = self.b_proj(packed).sigmoid() if self.use_beta else torch.ones_like(q[..., 0])

        mode = "fused_recurrent" if seq_len <= 64 and not self.training else self.mode
        kernel = fused_recurrent_delta_rule if mode == "fused_recurrent" else chunk_delta_rule
        delta, recurrent_state = kernel(
            q=q,
            k=k,
            v=v,
            beta=beta,
            initial_state=last_state["recurrent_state"] if last_state is not None else None,
            output_final_state=use_cache,
            cu_seqlens=cu_seqlens,
        )

        # the filters run over rows: what was packed goes back to its place
        if attention_mask is not None:
            v, delta = (pad_input(x.squeeze(0), indices, batch_size, seq_len) for x in (v, delta))
        short, fir_s = self.fir_short(v, fir_states[0])
        long, fir_l = self.fir_long(v, fir_states[1])
        weights = self.fusion_gate(hidden_states)
        o = (torch.stack([short, long, delta, v], dim=-1) * weights.unsqueeze(-2)).sum(-1)

        if past_key_values is not None:
            past_key_values.update(
                recurrent_state=recurrent_state,
                conv_state=(conv_q, conv_k, conv_v, fir_s, fir_l) if use_cache else None,
                layer_idx=self.layer_idx,
                offset=seq_len,
            )
        o = self.o_proj(rearrange(self.o_norm(o), "b l h d -> b l (h d)"))
        return o, None, past_key_values
