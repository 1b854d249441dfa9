"""flash-linear-attention's Triton kernels behind our signatures. CUDA only; fla is imported by the first call.

Half precision in, half precision out, states in float32: queries and keys take the values' type. A few steps without
gradients, as in decoding, go to fla's recurrent kernels, the rest to its chunked ones. `cu_seqlens` is fla's own.

Shapes as in `kernels.recurrence`; W taps.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from kernels.recurrence import Result

_FEW_STEPS = 64
# operator -> fla's module under fla.ops, its chunked and its recurrent function, the name it has for a decay
_FUNCTIONS = {
    "linear_attn": ("simple_gla", "chunk_simple_gla", "fused_recurrent_simple_gla", ""),
    "retention": ("retention", "chunk_retention", "fused_recurrent_retention", ""),
    "simple_gla": ("simple_gla", "chunk_simple_gla", "fused_recurrent_simple_gla", "g"),
    "gla": ("gla", "chunk_gla", "fused_recurrent_gla", "gk"),
    "delta_rule": ("delta_rule", "chunk_delta_rule", "fused_recurrent_delta_rule", ""),
    "gated_delta_rule": ("gated_delta_rule", "chunk_gated_delta_rule", "fused_recurrent_gated_delta_rule", "g"),
    "kda": ("kda", "chunk_kda", "fused_recurrent_kda", "g"),
    "dplr_delta_rule": (
        "generalized_delta_rule",
        "chunk_dplr_delta_rule",
        "fused_recurrent_dplr_delta_rule",
        "gk",
    ),
}
_CHUNKED_NAME = {"gla": "g"}  # where the chunked function names the decay differently


@functools.cache
def installed() -> bool:
    """Whether fla can be imported; looked up once."""
    return importlib.util.find_spec("fla") is not None


def sequence_form(operator: str) -> Callable[..., Result]:
    """fla's kernels for one of the operators with a matrix state."""

    def form(
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *gates: Tensor,
        scale: float | None = None,
        initial_state: Tensor | None = None,
        output_final_state: bool = False,
        cu_seqlens: Tensor | None = None,
    ) -> Result:
        module, chunked, recurrent, _ = _FUNCTIONS[operator]
        few = q.shape[1] <= _FEW_STEPS and not torch.is_grad_enabled()
        function = getattr(importlib.import_module(f"fla.ops.{module}"), recurrent if few else chunked)
        return _result(
            function(
                q=q.to(v.dtype),
                k=k.to(v.dtype),
                v=v,
                **_named(operator, gates, v, recurrent=few),
                scale=q.shape[-1] ** -0.5 if scale is None else scale,
                initial_state=None if initial_state is None else initial_state.float(),
                output_final_state=output_final_state,
                cu_seqlens=cu_seqlens,
            )
        )

    return form


def causal_conv(
    x: Tensor,
    weight: Tensor,
    *,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    cu_seqlens: Tensor | None = None,
) -> Result:
    """fla's short convolution; its cache [B, D, W] has one input more than our state [B, W - 1, D]."""
    function = importlib.import_module("fla.modules.convolution").causal_conv1d
    cache = None if initial_state is None else F.pad(initial_state.to(x.dtype).mT, (1, 0)).contiguous()
    out, final = function(
        x, weight.to(x.dtype), initial_state=cache, output_final_state=output_final_state, cu_seqlens=cu_seqlens
    )
    return out, final.mT[:, 1:] if output_final_state else None


def rms_norm_gated(x: Tensor, gate: Tensor, weight: Tensor, *, eps: float = 1e-5, activation: str = "swish") -> Tensor:
    """fla's fused norm and gate."""
    function = importlib.import_module("fla.modules.fused_norm_gate").rms_norm_gated
    out: Tensor = function(x, gate.to(x.dtype), weight, None, activation, eps=eps)
    return out


def _named(operator: str, gates: tuple[Tensor, ...], v: Tensor, *, recurrent: bool) -> dict[str, Any]:
    decay = _FUNCTIONS[operator][3]
    decay = decay if recurrent else _CHUNKED_NAME.get(operator, decay)
    if operator == "dplr_delta_rule":
        a, b, g = gates
        return {"a": a.to(v.dtype), "b": b.to(v.dtype), decay: g.float()}
    names = [decay] if decay else []
    if operator in ("delta_rule", "gated_delta_rule", "kda"):
        names.append("beta")
    values = dict(zip(names, gates, strict=True))
    if "beta" in values:
        values["beta"] = values["beta"].to(v.dtype)
    if decay:
        values[decay] = values[decay].float()
    return values


def _result(answer: Any) -> Result:
    return answer[0], answer[1]
