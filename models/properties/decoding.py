"""Executed decoding: token by token has to give what the parallel form gives, from a state that stays small.

Shapes: B batch, T time, D model width.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor, nn

from models import cost
from models.properties.precision import FLOAT64, reshaped_difference, rms
from models.properties.running import all_in_float64, run
from models.properties.subject import Finding, NotOffered, Refused, Subject

STEPS = 40
_LONG_STEPS = 300  # where `thorough`
_GROWTH_STEPS = (320, 640)  # looked at only where the state still grows at STEPS: windows fill up
_MOST_GROWTH = 1.25  # by doubling the length; the state of a log-linear memory still passes
_COUNTER_BYTES = 64  # positions and lengths beside the state proper


def decode(subject: Subject) -> Finding:
    """`step` from an empty state, in float64 where the mixer runs so; the state's bytes for one float32 sequence."""
    finest = subject.finest()
    if not callable(getattr(finest.mixer, "step", None)):
        raise NotOffered
    steps = _LONG_STEPS if subject.thorough else STEPS
    x_BTD = subject.inputs(2, steps, seed=2).to(finest.dtype)
    try:
        stepped_BTD = _decode(finest.mixer, x_BTD)[0]
    except NotImplementedError as error:
        raise NotOffered from error
    parallel_BTD = run(finest.mixer, x_BTD)
    if stepped_BTD.shape != parallel_BTD.shape:
        raise Refused(f"step gives {list(stepped_BTD.shape)} over {steps} steps; return y [B, D] and the state")
    # Another order of sums than the parallel form's, as between other shapes, and many more of them.
    limit = 1e-9 if finest.precision is FLOAT64 else finest.precision.reshaped
    figure = reshaped_difference(parallel_BTD, stepped_BTD, rms(parallel_BTD), finest.precision)
    if figure > limit:
        raise Refused(
            f"{steps} steps differ from the parallel form by {figure:.2g} of the outputs' rms, limit {limit:.2g}: "
            "let step continue from its state alone what forward computes",
            figure,
            limit,
        )
    subject.state_bytes, detail = _measured_state(subject)
    return Finding(figure=figure, limit=limit, detail=detail)


def _measured_state(subject: Subject) -> tuple[int, str]:
    mixer = subject.mixer().eval()
    stated = cost.decode_state_bytes(mixer)
    sizes = _decode(mixer, subject.inputs(1, STEPS))[1]
    half, whole = sizes[STEPS // 2 - 1], sizes[-1]
    if whole > half:
        sizes = _decode(mixer, subject.inputs(1, _GROWTH_STEPS[-1]))[1]
        half, whole = sizes[_GROWTH_STEPS[-2] - 1], sizes[-1]
        if whole > half * _MOST_GROWTH:
            raise Refused(
                f"the state of step grows from {half} to {whole} bytes between {_GROWTH_STEPS[-2]} and "
                f"{_GROWTH_STEPS[-1]} tokens: keep one of bounded size",
                whole / half,
                _MOST_GROWTH,
            )
    if stated is not None and abs(stated - whole) > _COUNTER_BYTES:
        raise Refused(
            f"state_bytes() says {stated}, the state of step holds {whole} bytes for one float32 sequence: state that",
            whole,
            stated,
        )
    return whole, f"state of {whole} bytes for one sequence"


@torch.no_grad()
def _decode(mixer: nn.Module, x_BTD: Tensor) -> tuple[Tensor, list[int]]:
    """Outputs of all steps, and the state's bytes after each."""
    mixer.eval()
    outs: list[Tensor] = []
    sizes: list[int] = []
    state: object = None
    with all_in_float64() if x_BTD.dtype == torch.float64 else nullcontext():
        for x_BD in x_BTD.unbind(1):
            answer = mixer.step(x_BD.clone(), state)  # type: ignore[operator]
            if not (isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[0], Tensor)):
                raise Refused(f"step returned {type(answer).__name__}; return the pair of y [B, D] and the state")
            outs.append(answer[0].clone())
            state = answer[1]
            sizes.append(cost.tensor_bytes(state))
    return torch.stack(outs, 1), sizes
