"""What every operator of the stand-in comes down to: a linear recurrence over a matrix state, with states in and out.

    S_t = decay_t * S_(t-1);  S_t += k_t (beta_t (v_t - S_t^T k_t))^T  (delta rule)  or  k_t v_t^T;  o_t = S_t^T q_t

`kernels.dispatch` computes them. What it lacks, decay along values and a beta for each value channel, runs step by
step: correct, and too slow to train on long sequences.

Computed in float32 (float64 for float64 inputs), also under autocast.

Shapes: B batch (or packed sequences), T time, H heads of v, G heads of q and k, K key dim, V value dim, X as given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kernels import dispatch
from kernels.packing import Packing


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """The inputs of a recurrence, time in dimension 1; `decay` and `value_decay` are logs, at most 0."""

    q: Tensor  # B T H K, scaled
    k: Tensor  # B T H K
    v: Tensor  # B T H V
    decay: Tensor | None = None  # B T H, or B T H K
    value_decay: Tensor | None = None  # B T H V
    beta: Tensor | None = None  # B T H, or B T H V; None: values are added, nothing is erased

    def mapped(self, change: Packing | torch.dtype | None) -> Steps:
        """Every tensor unpacked, cast, or (None) reversed in time."""
        return replace(self, **{name: _change(x, change) for name in _FIELDS if (x := getattr(self, name)) is not None})


_FIELDS = ("q", "k", "v", "decay", "value_decay", "beta")


def run(
    steps: Steps,
    *,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool | None = False,
    state_v_first: bool = False,
    reverse: bool = False,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """o_BTHV in q's type, and the final state [B or N, H, K, V] ([..., V, K] if `state_v_first`), None unless asked.

    q and k with fewer heads than v are shared by groups of heads of v. `reverse` runs time backwards, which is not
    causal: a mixer that uses it does not pass the gate.

    Raises:
        ValueError: shapes that do not belong together.
    """
    dtype, out_dtype = state_dtype(steps.v, steps.q), steps.q.dtype
    steps = _with_grouped_heads(steps).mapped(dtype)
    steps = replace(steps, q=steps.q * (steps.k.shape[-1] ** -0.5 if scale is None else scale))
    packing = None if cu_seqlens is None else Packing(cu_seqlens, steps.q)
    if packing is not None:
        steps = steps.mapped(packing)
    if reverse:
        steps = steps.mapped(None)
    state_BHKV = _initial(steps, initial_state, state_v_first, dtype)
    out_BTHV, final_BHKV = _execute(steps, state_BHKV, bool(output_final_state))
    if reverse:
        out_BTHV = out_BTHV.flip(1)
    if packing is not None:
        out_BTHV = packing.pack(out_BTHV)
    if final_BHKV is not None and state_v_first:
        final_BHKV = final_BHKV.mT.contiguous()
    return out_BTHV.to(out_dtype), final_BHKV


def state_dtype(*tensors: Tensor) -> torch.dtype:
    """What states are computed in: float64 if any tensor is, else float32."""
    return torch.float64 if any(x.dtype == torch.float64 for x in tensors) else torch.float32


def _execute(steps: Steps, state_BHKV: Tensor | None, want_final: bool) -> tuple[Tensor, Tensor | None]:
    if steps.value_decay is not None or (steps.beta is not None and steps.beta.dim() == 4):
        out_BTHV, final_BHKV = _step_by_step(steps, state_BHKV)
        return out_BTHV, final_BHKV if want_final else None
    operator, gates = _operator(steps)
    inputs = (steps.q, steps.k, steps.v, *gates)
    if state_BHKV is None and not want_final:
        return operator(*inputs, scale=1.0), None
    continued = dispatch.with_state(operator, *inputs, scale=1.0, state=state_BHKV)
    return continued.out, continued.state if want_final else None


def _operator(steps: Steps) -> tuple[Callable[..., Tensor], tuple[Tensor, ...]]:
    """The operator that computes these steps, and what it takes behind q, k and v."""
    decay, beta = steps.decay, steps.beta
    if beta is not None:
        if decay is None:
            return dispatch.delta_rule, (beta,)
        return dispatch.kda if decay.dim() == 4 else dispatch.gated_delta_rule, (decay, beta)
    if decay is None:
        return dispatch.linear_attn, ()
    return dispatch.gla if decay.dim() == 4 else dispatch.simple_gla, (decay,)


def _step_by_step(steps: Steps, state_BHKV: Tensor | None) -> tuple[Tensor, Tensor]:
    batch, num_steps, heads, key_dim = steps.q.shape
    state = steps.v.new_zeros(batch, heads, key_dim, steps.v.shape[-1]) if state_BHKV is None else state_BHKV
    outputs: list[Tensor] = []
    for t in range(num_steps):
        q_BHK, k_BHK, value_BHV = steps.q[:, t], steps.k[:, t], steps.v[:, t]
        if steps.decay is not None:
            decay = steps.decay[:, t].exp()
            state = state * (decay.unsqueeze(-1) if decay.dim() == 3 else decay[..., None, None])
        if steps.value_decay is not None:
            state = state * steps.value_decay[:, t].exp().unsqueeze(-2)
        if steps.beta is not None:
            beta = steps.beta[:, t]
            error_BHV = value_BHV - (state * k_BHK.unsqueeze(-1)).sum(-2)
            value_BHV = error_BHV * (beta if beta.dim() == 3 else beta.unsqueeze(-1))
        state = state + k_BHK.unsqueeze(-1) * value_BHV.unsqueeze(-2)
        outputs.append((state * q_BHK.unsqueeze(-1)).sum(-2))
    return torch.stack(outputs, 1), state


def _with_grouped_heads(steps: Steps) -> Steps:
    heads, key_heads = steps.v.shape[2], steps.k.shape[2]
    if steps.q.shape != steps.k.shape or steps.q.dim() != 4 or steps.v.shape[:2] != steps.q.shape[:2]:
        raise ValueError(
            f"q, k, v have shapes {_shape(steps.q)}, {_shape(steps.k)}, {_shape(steps.v)}; give q, k [B, T, H, K] and "
            "v [B, T, H, V]"
        )
    if heads % key_heads:
        raise ValueError(f"v has {heads} heads, q and k {key_heads}: the first has to be a multiple of the second")
    for name, wide in (("decay", False), ("value_decay", True), ("beta", False)):
        gate = getattr(steps, name)
        if gate is not None and (gate.shape[:3] != steps.v.shape[:3] or gate.dim() not in ((4,) if wide else (3, 4))):
            raise ValueError(
                f"{name} has shape {_shape(gate)}; for v {_shape(steps.v)} it has to be [B, T, {heads}, ...]"
            )
    if heads == key_heads:
        return steps
    groups = heads // key_heads
    return replace(steps, q=steps.q.repeat_interleave(groups, 2), k=steps.k.repeat_interleave(groups, 2))


def _initial(steps: Steps, state: Tensor | None, v_first: bool, dtype: torch.dtype) -> Tensor | None:
    if state is None:
        return None
    state_BHKV = (state.mT if v_first else state).to(dtype)
    batch, _, heads, key_dim = steps.q.shape
    wanted = (batch, heads, key_dim, steps.v.shape[-1])
    if state_BHKV.shape != wanted:
        order = "[V, K]" if v_first else "[K, V]"
        raise ValueError(f"initial_state has shape {_shape(state)}; with states stored {order} it has to make {wanted}")
    return state_BHKV


def _change(x: Tensor, change: Packing | torch.dtype | None) -> Tensor:
    if change is None:
        return x.flip(1)
    return change.unpack(x) if isinstance(change, Packing) else x.to(change)


def _shape(x: Tensor) -> str:
    return str(list(x.shape))
