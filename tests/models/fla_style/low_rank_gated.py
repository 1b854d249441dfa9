"""Gated linear attention with low-rank gates in bfloat16, written against flash-linear-attention.

Source: Yang et al. 2023, "Gated Linear Attention Transformers with Hardware-Efficient Training" (arXiv 2312.06635).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn as nn
import torch.nn.functional as F  # noqa: N812
from einops import rearrange, repeat
from fla.layers.utils import get_layer_cache, get_unpad_data, index_first_axis, pad_input, update_layer_cache
from fla.modules import RMSNorm
from fla.modules.activations import ACT2FN
from fla.ops.gla import chunk_gla, fused_recurrent_gla

if TYPE_CHECKING:
    from fla.models.utils import Cache


@torch.compile
def log_forget_gate(x: torch.Tensor, normalizer: float, floor: float) -> torch.Tensor:
    return (F.logsigmoid(x.float()) / normalizer).clamp(min=floor)


@torch.compile(fullgraph=True)
def gated(o: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    return o * (g * torch.sigmoid(g))


class LowRankGatedAttention(nn.Module):
    def __init__(
        self,
        mode: str = "chunk",
        d_model: int = 1024,
        expand_k: float = 0.5,
        expand_v: float = 1.0,
        num_attention_heads: int = 4,
        num_kv_heads: int | None = None,
        feature_map: str | None = None,
        gate_fn: str = "swish",
        gate_low_rank_dim: int = 16,
        gate_logit_normalizer: int = 16,
        clamp_min: float = -5.0,
        norm_eps: float = 1e-5,
        layer_idx: int | None = None,
    ) -> None:
        super().__init__()
        self.mode = mode
        self.num_heads = num_attention_heads
        self.num_kv_heads = num_kv_heads if num_kv_heads is not None else num_attention_heads
        self.num_kv_groups = self.num_heads // self.num_kv_heads
        self.feature_map_fn = ACT2FN[feature_map] if feature_map is not None else None
        self.gate_fn = gate_fn
        self.layer_idx = layer_idx
        self.gate_logit_normalizer = gate_logit_normalizer
        self.clamp_min = clamp_min

        self.key_dim = int(d_model * expand_k)
        self.value_dim = int(d_model * expand_v)
        self.head_k_dim = self.key_dim // self.num_heads
        self.head_v_dim = self.value_dim // self.num_heads
        key_dim_per_group, value_dim_per_group = (x // self.num_kv_groups for x in (self.key_dim, self.value_dim))

        self.q_proj = nn.Linear(d_model, self.key_dim, bias=False)
        self.k_proj = nn.Linear(d_model, key_dim_per_group, bias=False)
        self.v_proj = nn.Linear(d_model, value_dim_per_group, bias=False)
        self.g_proj = nn.Linear(d_model, self.value_dim, bias=False)
        self.gk_proj = nn.Sequential(
            nn.Linear(d_model, gate_low_rank_dim, bias=False),
            nn.Linear(gate_low_rank_dim, key_dim_per_group, bias=True),
        )
        self.g_norm = RMSNorm(hidden_size=self.head_v_dim, eps=norm_eps)
        self.o_proj = nn.Linear(self.value_dim, d_model, bias=False)
        self.apply(self._initialize_weights)

    def _initialize_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight, gain=2**-2.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = False,
        output_attentions: bool | None = False,
        **kwargs,
    ) -> tuple[torch.Tensor, torch.Tensor | None, Cache | None]:
        batch_size, q_len, _ = hidden_states.shape
        mode = "fused_recurrent" if q_len <= 64 else self.mode
        last_state = get_layer_cache(self, past_key_values)

        cu_seqlens = kwargs.get("cu_seqlens")
        if cu_seqlens is None and attention_mask is not None:
            indices, cu_seqlens, _ = get_unpad_data(attention_mask[:, -q_len:])
            hidden_states = index_first_axis(rearrange(hidden_states, "b s ... -> (b s) ..."), indices).unsqueeze(0)

        q = rearrange(self.q_proj(hidden_states), "b t (h d) -> b t h d", d=self.head_k_dim)
        k, gk = self.k_proj(hidden_states), self.gk_proj(hidden_states)
        k, gk = (repeat(x, "b t (h d) -> b t (h g) d", d=self.head_k_dim, g=self.num_kv_groups) for x in (k, gk))
        v = repeat(self.v_proj(hidden_states), "b t (h d) -> b t (h g) d", d=self.head_v_dim, g=self.num_kv_groups)
        if self.feature_map_fn is not None:
            q, k = map(self.feature_map_fn, (q, k))
        gk = log_forget_gate(gk, self.gate_logit_normalizer, self.clamp_min)

        # the kernels want bfloat16
        q, k, v = (x.to(torch.bfloat16) for x in (q, k, v))
        recurrent_state = last_state["recurrent_state"] if last_state is not None else None
        if mode == "fused_recurrent":
            o, recurrent_state = fused_recurrent_gla(
                q=q,
                k=k,
                v=v,
                gk=gk,
                initial_state=recurrent_state,
                output_final_state=use_cache,
                cu_seqlens=cu_seqlens,
            )
        elif mode == "chunk":
            o, recurrent_state = chunk_gla(
                q=q,
                k=k,
                v=v,
                g=gk,
                initial_state=recurrent_state,
                output_final_state=use_cache,
                cu_seqlens=cu_seqlens,
            )
        else:
            raise NotImplementedError(f"Not supported mode `{mode}`.")
        update_layer_cache(self, past_key_values, recurrent_state=recurrent_state, offset=q_len)

        o = self.g_norm(o.to(hidden_states.dtype))
        g = rearrange(self.g_proj(hidden_states), "b t (h d) -> b t h d", d=self.head_v_dim)
        o = gated(o, g) if self.gate_fn == "swish" else o * ACT2FN[self.gate_fn](g)
        o = self.o_proj(rearrange(o, "b t h d -> b t (h d)"))
        if attention_mask is not None:
            o = pad_input(o.squeeze(0), indices, batch_size, q_len)
        return o, None, past_key_values
