"""The implementations of every operator, by the names of `kernels.rule`, and how one of them is run.

What the forms have in common stands here: autocast is off while they run, rows of packed sequences are taken apart for
those that know no `cu_seqlens`, retention is a decay that needs no gate.

Shapes: B batch, T time, H heads, N packed sequences, X anything.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from kernels import (
    causal_conv,
    delta_rule,
    dplr_delta_rule,
    fla_forms,
    gated_delta_rule,
    gla,
    kda,
    linear_attn,
    path_fusion,
    rms_norm_gated,
    simple_gla,
    two_scale_fir,
)
from kernels.packing import Packing
from kernels.recurrence import Result, state_dtype
from kernels.rule import choose

Form = Callable[..., Result]


def _retained(form: Form) -> Form:
    def retention(q: Tensor, k: Tensor, v: Tensor, **options: object) -> Result:
        return form(q, k, v, simple_gla.retention_decay(v), **options)

    return retention


def _with_fla(operator: str, definition: Form, chunkwise: Form) -> Mapping[str, Form]:
    return {"definition": definition, "torch": chunkwise, "fla": fla_forms.sequence_form(operator)}


SEQUENCE: Mapping[str, Mapping[str, Form]] = {
    "linear_attn": _with_fla("linear_attn", linear_attn.recurrence, linear_attn.chunkwise),
    "retention": _with_fla("retention", _retained(simple_gla.recurrence), _retained(simple_gla.chunkwise)),
    "simple_gla": _with_fla("simple_gla", simple_gla.recurrence, simple_gla.chunkwise),
    "gla": _with_fla("gla", gla.recurrence, gla.chunkwise),
    "delta_rule": _with_fla("delta_rule", delta_rule.recurrence, delta_rule.chunkwise),
    "gated_delta_rule": _with_fla("gated_delta_rule", gated_delta_rule.recurrence, gated_delta_rule.chunkwise),
    "kda": _with_fla("kda", kda.recurrence, kda.chunkwise),
    "dplr_delta_rule": _with_fla("dplr_delta_rule", dplr_delta_rule.recurrence, dplr_delta_rule.chunkwise),
}
CONVOLUTION: Mapping[str, Form] = {
    "definition": causal_conv.recurrence,
    "torch": causal_conv.direct,
    "fla": fla_forms.causal_conv,
}
GATED_NORM: Mapping[str, Callable[..., Tensor]] = {
    "definition": rms_norm_gated.definition,
    "torch": rms_norm_gated.native,
    "fla": fla_forms.rms_norm_gated,
}


def _triton(module: str, name: str) -> Callable[..., Any]:
    """A fused kernel of ours, imported when it is first called: nothing else needs Triton."""

    def form(*tensors: Any, **options: Any) -> Any:
        return getattr(importlib.import_module(f"kernels.fused.{module}"), name)(*tensors, **options)

    return form


PATH_FUSION: Mapping[str, Callable[..., Tensor]] = {
    "definition": path_fusion.reference,
    "torch": path_fusion.pytorch,
    "triton": _triton("path_fusion", "fused"),
}
PATH_SUM: Mapping[str, Callable[..., Tensor]] = {
    "definition": path_fusion.weighted_sum,
    "torch": path_fusion.mix,
    "triton": _triton("path_fusion", "mix"),
}
TWO_SCALE: Mapping[str, Callable[..., tuple[two_scale_fir.TwoScale, Tensor | None]]] = {
    "definition": two_scale_fir.reference,
    "torch": two_scale_fir.pytorch,
    "triton": _triton("two_scale_fir", "fused"),
}


def run_sequence(
    operator: str,
    tensors: tuple[Tensor, ...],
    *,
    scale: float | None,
    cu_seqlens: Tensor | None,
    state: Tensor | None,
    final: bool,
) -> Result:
    """One of SEQUENCE on tensors [B, T, ...] whose shapes were checked; the state only where `final`."""
    forms = SEQUENCE[operator]
    name = choose(tensors[0], forms, widest=max(tensors[0].shape[-1], tensors[2].shape[-1]))
    if cu_seqlens is not None and name != "fla" and operator == "retention":  # a filling would decay the state
        operator, tensors = "simple_gla", (*tensors, simple_gla.retention_decay(tensors[2]))
    form = SEQUENCE[operator][name]
    with full_precision(tensors[0]):
        if cu_seqlens is None or name == "fla":
            packed = {} if cu_seqlens is None else {"cu_seqlens": cu_seqlens}
            return form(*tensors, scale=scale, initial_state=state, output_final_state=final, **packed)
        packing = Packing(cu_seqlens, tensors[0])
        rows = (packing.unpack(x) for x in tensors)
        out, last = form(*rows, scale=scale, initial_state=state, output_final_state=final)
        return packing.pack(out), last


def run_convolution(
    x: Tensor, weight: Tensor, *, cu_seqlens: Tensor | None, state: Tensor | None, final: bool
) -> Result:
    """A causal convolution of x [B, T, D], or of N sequences packed into one row."""
    name = choose(x, CONVOLUTION)
    if name == "fla" and weight.shape[1] > _MOST_SHORT_TAPS:
        name = "torch"
    with full_precision(x):
        if cu_seqlens is None or name == "fla":
            packed = {} if cu_seqlens is None else {"cu_seqlens": cu_seqlens}
            return CONVOLUTION[name](x, weight, initial_state=state, output_final_state=final, **packed)
        packing = Packing(cu_seqlens, x)
        out, _ = CONVOLUTION[name](packing.unpack(x), weight, initial_state=state)
        history = x.new_zeros(packing.count, weight.shape[1] - 1, x.shape[2]) if state is None else state
        history = history.to(state_dtype(x))
        return packing.pack(out), packing.last(history, x) if final else None


def run_two_scale(
    x: Tensor, short: Tensor, long: Tensor, *, cu_seqlens: Tensor | None, state: Tensor | None, final: bool
) -> tuple[two_scale_fir.TwoScale, Tensor | None]:
    """Both filters of x [B, T, D], or of N sequences packed into one row."""
    form = TWO_SCALE[choose(x, TWO_SCALE)]
    with full_precision(x):
        if cu_seqlens is None:
            return form(x, short, long, initial_state=state, output_final_state=final)
        packing = Packing(cu_seqlens, x)
        out, _ = form(packing.unpack(x), short, long, initial_state=state)
        history = x.new_zeros(packing.count, two_scale_fir.num_state_steps(short, long), x.shape[2])
        history = (history if state is None else state).to(state_dtype(x))
        last = packing.last(history, x) if final else None
        return two_scale_fir.TwoScale(packing.pack(out.short), packing.pack(out.long)), last


_MOST_SHORT_TAPS = 4  # what fla's kernel is made for


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """Autocast off where it is on: operators choose their precision themselves."""
    kind = x.device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        return torch.autocast(kind, enabled=False)
    return nullcontext()
