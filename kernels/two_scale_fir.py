"""Two-scale FIR: a short and a long depthwise causal filter of one sequence, as mixers with local paths use them.

    short_t = sum over lags w of short_DS[:, S-1-w] * x_(t-w),      long_t likewise with long_DW

weight[:, -1] multiplies the current step. No bias and no activation. Before t = 0 x is the initial state: the last
max(S, W) - 1 inputs of what came before, oldest first; zeros where it is None.

Shapes: B batch, T time, D width, S taps of the short filter, W taps of the long one, M = max(S, W) - 1 steps of state.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from kernels import causal_conv
from kernels.recurrence import state_dtype


class TwoScale(NamedTuple):
    """What the two filters answer, each [B, T, D] in the dtype of x."""

    short: Tensor
    long: Tensor


def reference(
    x: Tensor, short: Tensor, long: Tensor, *, initial_state: Tensor | None = None, output_final_state: bool = False
) -> tuple[TwoScale, Tensor | None]:
    """The definition, one time step after another; float32 (float64 for float64 x), returned in the dtype of x.

    x is [B, T, D], short [D, S], long [D, W], states [B, M, D] in the dtype of the computation. The final state is
    None unless asked for. Sequences of unequal lengths are the caller's to pad.

    Source: the short and long filters of Fu et al. 2022, "Hungry Hungry Hippos" (arXiv 2212.14052), section 3, as
    plain FIR filters.
    """
    dtype = state_dtype(x)
    state_BMD = _state(x, short, long, initial_state)
    wide_BTD = x.to(dtype)  # and the filters, once: within the loop gradients would add up in bfloat16
    short_DS, long_DW = short.to(dtype), long.to(dtype)
    steps: list[tuple[Tensor, Tensor]] = []
    for x_BD in wide_BTD.unbind(1):
        seen_BND = torch.cat([state_BMD, x_BD.unsqueeze(1)], 1)
        short_BD = torch.einsum("bsd,ds->bd", seen_BND[:, seen_BND.shape[1] - short.shape[1] :], short_DS)
        long_BD = torch.einsum("bwd,dw->bd", seen_BND[:, seen_BND.shape[1] - long.shape[1] :], long_DW)
        steps.append((short_BD, long_BD))
        state_BMD = seen_BND[:, 1:]
    answer = TwoScale(*(torch.stack(scale, 1).to(x.dtype) for scale in zip(*steps, strict=True)))
    return answer, state_BMD if output_final_state else None


def pytorch(
    x: Tensor, short: Tensor, long: Tensor, *, initial_state: Tensor | None = None, output_final_state: bool = False
) -> tuple[TwoScale, Tensor | None]:
    """As `reference`: two depthwise convolutions over all steps at once."""
    state_BMD, wide_BTD = _state(x, short, long, initial_state), x.to(state_dtype(x))
    outputs = []
    for weight in (short, long):
        seen_BSD = state_BMD[:, state_BMD.shape[1] - weight.shape[1] + 1 :]
        out_BTD, _ = causal_conv.direct(wide_BTD, weight, initial_state=seen_BSD)
        outputs.append(out_BTD.to(x.dtype))
    return TwoScale(*outputs), final_state(x, short, long, initial_state) if output_final_state else None


def final_state(x: Tensor, short: Tensor, long: Tensor, initial_state: Tensor | None = None) -> Tensor:
    """The last M inputs, [B, M, D], float32 (float64 for float64 x): the state that a continuation starts from."""
    length = num_state_steps(short, long)
    recent_BND = x[:, max(0, x.shape[1] - length) :].to(state_dtype(x))
    if recent_BND.shape[1] == length:
        return recent_BND.clone()
    return torch.cat([_state(x, short, long, initial_state)[:, recent_BND.shape[1] :], recent_BND], 1)


def num_state_steps(short: Tensor, long: Tensor) -> int:
    """M: how many inputs a state holds."""
    return max(short.shape[1], long.shape[1]) - 1


def _state(x: Tensor, short: Tensor, long: Tensor, initial_state: Tensor | None) -> Tensor:
    if initial_state is not None:
        return initial_state.to(state_dtype(x))
    return x.new_zeros(x.shape[0], num_state_steps(short, long), x.shape[2], dtype=state_dtype(x))
