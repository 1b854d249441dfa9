"""Two-scale FIR: both filters in one pass over the input, forward and backward.

A thread computes 8 consecutive steps, the phases, of 4 channels. It walks over the inputs that these can see, newest
first, and adds each to every phase; the 8 taps that one input needs slide through registers. An input is then loaded
(8 + taps - 1) / 8 times from the caches instead of `taps` times, and once from memory, since both filters of a program
see the same. With few taps the passes are bound by memory bandwidth, from some 30 up by float32 multiply-adds.

Backward is three launches: dx from both upstream gradients at once, and one for each filter, whose programs own a block
of taps and a share of all steps, and write sums that are added up in one order. Nothing is atomic, and results are the
same every time. Arithmetic is float32. The launches are custom operators, as in `kernels.fused.path_fusion`.

Shapes: B batch, T time, D width, S taps of the short filter, W taps of the long one, M = max(S, W) - 1 steps of state.
Taps inside are by lag, [S, D]: lag 0 is the current step, the last column of the weights.
"""

# ruff: noqa: RUF005  (Triton's compiler knows `xs + (x,)` and no unpacking)

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, no_type_check

import torch
import triton  # type: ignore[import-untyped]
import triton.language as tl  # type: ignore[import-untyped]
from torch import Tensor

from kernels.fused.gates import jit
from kernels.two_scale_fir import TwoScale, final_state

_PHASES = 8
_COLUMNS = 64  # 128 bytes of bf16: a cache line
_REGISTERS = 160  # a thread: left alone the compiler takes 180, and 12 warps no longer fit a multiprocessor
_TAPS_AT_ONCE = 16  # of a filter's gradient: 64 registers of sums
_PROGRAMS = 2048  # that share the sums over time: several for each multiprocessor of any GPU


def fused(
    x: Tensor, short: Tensor, long: Tensor, *, initial_state: Tensor | None = None, output_final_state: bool = False
) -> tuple[TwoScale, Tensor | None]:
    """As `kernels.two_scale_fir.reference`, on CUDA, or on any device under TRITON_INTERPRET=1.

    Arguments are not checked here. Differentiable once, in every tensor given. ValueError for float64.
    """
    if x.dtype == torch.float64:
        raise ValueError("x has dtype torch.float64; the fused kernel has float32 alone: use kernels.two_scale_fir")
    answer = TwoScale(*_apply(x, short, long, initial_state))
    return answer, final_state(x, short, long, initial_state) if output_final_state else None


class _TwoScaleFIR(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, short: Tensor, long: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(x, short, long, state)
        near, far = _forward(x, short, long, state)
        return near, far

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dnear: Tensor, dfar: Tensor) -> tuple[Tensor | None, ...]:
        needed = list(ctx.needs_input_grad)
        found = _backward(dnear, dfar, *ctx.saved_tensors, needed)
        return tuple(gradient if need else None for gradient, need in zip(found, needed, strict=True))


_apply: Callable[..., tuple[Tensor, Tensor]] = _TwoScaleFIR.apply


@torch.library.custom_op("architecture_research::two_scale_fir", mutates_args=())
def _forward(x: Tensor, short: Tensor, long: Tensor, state: Tensor | None) -> list[Tensor]:
    near, far = _forward_shapes(x, short, long, state)
    if x.numel():
        seen = _with_past(x, state)
        with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
            _forward_kernel[_grid(x.shape)](
                seen,
                _by_lag(short),
                _by_lag(long),
                near,
                far,
                seen.shape[1] - x.shape[1],
                *x.shape[1:],
                NUM_SHORT=short.shape[1],
                NUM_LONG=long.shape[1],
                maxnreg=_REGISTERS,
                **_tile(x.shape[1]),
            )
    return [near, far]


@_forward.register_fake
def _forward_shapes(x: Tensor, short: Tensor, long: Tensor, state: Tensor | None) -> list[Tensor]:
    return [x.new_empty(x.shape), x.new_empty(x.shape)]


@torch.library.custom_op("architecture_research::two_scale_fir_backward", mutates_args=())
def _backward(
    dnear: Tensor,
    dfar: Tensor,
    x: Tensor,
    short: Tensor,
    long: Tensor,
    state: Tensor | None,
    needed: Sequence[bool],
) -> list[Tensor]:
    """Gradients of x, short, long and the state; empty where not needed."""
    dnear, dfar = dnear.contiguous(), dfar.contiguous()
    found: list[Tensor] = _backward_shapes(dnear, dfar, x, short, long, state, needed)
    if not x.numel():
        return [gradient.zero_() for gradient in found]
    dx, dshort, dlong, dstate = found
    with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
        if needed[0]:
            _filter_back(dnear, dfar, short, long, dx, begin=0)
        if needed[1]:
            dshort.copy_(_correlate(dnear, x, state, short.shape[1]))
        if needed[2]:
            dlong.copy_(_correlate(dfar, x, state, long.shape[1]))
        if needed[3] and dstate.numel():
            _filter_back(dnear, dfar, short, long, dstate, begin=-dstate.shape[1])
    return found


@_backward.register_fake
def _backward_shapes(
    dnear: Tensor,
    dfar: Tensor,
    x: Tensor,
    short: Tensor,
    long: Tensor,
    state: Tensor | None,
    needed: Sequence[bool],
) -> list[Tensor]:
    inputs = (x, short, long, x if state is None else state)
    return [like.new_empty(like.shape if need else 0) for like, need in zip(inputs, needed, strict=True)]


def _filter_back(dnear: Tensor, dfar: Tensor, short: Tensor, long: Tensor, gradient: Tensor, *, begin: int) -> None:
    """Write the gradient of the inputs from step `begin` on, which is negative for those of the state."""
    _input_gradient_kernel[_grid(gradient.shape)](
        dnear,
        dfar,
        _by_lag(short),
        _by_lag(long),
        gradient,
        begin,
        gradient.shape[1],
        *dnear.shape[1:],
        NUM_SHORT=short.shape[1],
        NUM_LONG=long.shape[1],
        maxnreg=_REGISTERS,
        **_tile(gradient.shape[1]),
    )


def _correlate(upstream: Tensor, x: Tensor, state: Tensor | None, num_taps: int) -> Tensor:
    """Gradient of a filter's weights, [D, taps]: upstream_t x_(t-lag) summed over steps and sequences."""
    batch, steps, width = x.shape
    seen = _with_past(x, state)
    tile = _tile(steps)
    tap_blocks = triton.cdiv(num_taps, _TAPS_AT_ONCE)
    blocks = tap_blocks * triton.cdiv(width, _COLUMNS)
    tiles = batch * triton.cdiv(steps, tile["ROWS"] * _PHASES)
    turns = triton.next_power_of_2(triton.cdiv(tiles * blocks, _PROGRAMS))  # compiled in: few different ones
    parts = triton.cdiv(tiles, turns)
    totals = torch.empty(parts, num_taps, width, dtype=torch.float32, device=x.device)
    _weight_gradient_kernel[(parts * blocks,)](
        upstream,
        seen,
        totals,
        seen.shape[1] - steps,
        steps,
        width,
        tiles,
        parts,
        TURNS=turns,
        NUM_TAPS=num_taps,
        TAPS=triton.cdiv(num_taps, tap_blocks),
        **tile,
    )
    return totals.sum(0).flip(0).t()


def _with_past(x: Tensor, state: Tensor | None) -> Tensor:
    return x.contiguous() if state is None else torch.cat([state, x], 1)


def _by_lag(weight_DS: Tensor) -> Tensor:
    return weight_DS.to(torch.float32).flip(1).t().contiguous()


def _grid(shape: Sequence[int]) -> tuple[int]:
    batch, steps, width = shape
    return (batch * triton.cdiv(steps, _tile(steps)["ROWS"] * _PHASES) * triton.cdiv(width, _COLUMNS),)


def _tile(steps: int) -> dict[str, int]:
    """Sizes of a program: 128 threads of 4 channels, 8 bytes of bf16 each, unless there are few steps."""
    rows = min(8, triton.next_power_of_2(triton.cdiv(steps, _PHASES)))
    return {"PHASES": _PHASES, "ROWS": rows, "COLUMNS": _COLUMNS, "num_warps": max(1, rows // 2)}


@jit
@no_type_check
def _load(place, offsets, moments, columns, first, last, width):
    """What is `offsets` [ROWS, COLUMNS] behind `place`, in float32; zero where not first <= moments < last."""
    inside = ((moments >= first) & (moments < last))[:, None] & (columns < width)[None, :]
    return tl.load(place + offsets, mask=inside, other=0.0).to(tl.float32)


@jit
@no_type_check
def _zeros(COUNT: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    zeros = ()
    for _ in tl.static_range(COUNT):
        zeros = zeros + (tl.full([ROWS, COLUMNS], 0.0, tl.float32),)
    return zeros


@jit
@no_type_check
def _filter(
    sums,
    place,
    offsets,
    moments,
    columns,
    first,
    last,
    width,
    taps,
    NUM_TAPS: tl.constexpr,
    DIRECTION: tl.constexpr,
    PHASES: tl.constexpr,
):
    """Add to the sum of each phase j what the filter makes of the inputs at moments + DIRECTION * k, for all k.

    Phase j is at moments + DIRECTION * j, so that input k meets the tap of lag k - j in it. `place` and `offsets` are
    where input 0 is: one pointer moves from input to input.
    """
    window = ()  # of the taps of lag k, k - 1, ...
    for k in tl.static_range(2 * PHASES if NUM_TAPS > PHASES else NUM_TAPS + PHASES - 1):
        inside = (columns < width) & (k < NUM_TAPS)
        window = (tl.load(taps + k * width + columns, mask=inside, other=0.0),) + window[: PHASES - 1]
        value = _load(place + DIRECTION * k * width, offsets, moments + DIRECTION * k, columns, first, last, width)
        longer = ()
        for j in tl.static_range(PHASES):
            if k - j >= 0 and k - j < NUM_TAPS:
                longer = longer + (sums[j] + window[j][None, :] * value,)
            else:
                longer = longer + (sums[j],)
        sums = longer
    place += 2 * PHASES * DIRECTION * width
    for older in range(2 * PHASES, NUM_TAPS + PHASES - 1, PHASES):
        for i in tl.static_range(PHASES):
            inside = (columns < width) & (older + i < NUM_TAPS)
            window = (tl.load(taps + (older + i) * width + columns, mask=inside, other=0.0),) + window[: PHASES - 1]
            value = _load(place, offsets, moments + DIRECTION * (older + i), columns, first, last, width)
            longer = ()
            for j in tl.static_range(PHASES):
                longer = longer + (sums[j] + window[j][None, :] * value,)
            sums = longer
            place += DIRECTION * width
    return sums


@jit
@no_type_check
def _place(program, length, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr, PHASES: tl.constexpr):
    """Batch, first step, and columns of a program; columns vary fastest, as they do in memory."""
    blocks = (width + COLUMNS - 1) // COLUMNS
    tiles = (length + ROWS * PHASES - 1) // (ROWS * PHASES)
    tile = program // blocks
    columns = (program % blocks) * COLUMNS + tl.arange(0, COLUMNS)
    return (tile // tiles).to(tl.int64), (tile % tiles) * (ROWS * PHASES), columns


@jit
@no_type_check
def _forward_kernel(
    x,
    short,
    long,
    near,
    far,
    num_before,
    num_steps,
    width,
    NUM_SHORT: tl.constexpr,
    NUM_LONG: tl.constexpr,
    PHASES: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    batch, start, columns = _place(tl.program_id(0), num_steps, width, ROWS, COLUMNS, PHASES)
    moments = tl.arange(0, ROWS) * PHASES + (PHASES - 1)
    offsets = moments[:, None] * width + columns[None, :]
    place = x + (batch * (num_before + num_steps) + num_before + start) * width
    first, last = -num_before - start, num_steps - start
    zeros = _zeros(PHASES, ROWS, COLUMNS)
    far_sums = _filter(zeros, place, offsets, moments, columns, first, last, width, long, NUM_LONG, -1, PHASES)
    near_sums = _filter(zeros, place, offsets, moments, columns, first, last, width, short, NUM_SHORT, -1, PHASES)
    here = (batch * num_steps + start) * width
    for j in tl.static_range(PHASES):
        inside = (moments - j < last)[:, None] & (columns < width)[None, :]
        behind = here - j * width
        tl.store(near + behind + offsets, near_sums[j].to(near.dtype.element_ty), mask=inside)
        tl.store(far + behind + offsets, far_sums[j].to(far.dtype.element_ty), mask=inside)


@jit
@no_type_check
def _input_gradient_kernel(
    dnear,
    dfar,
    short,
    long,
    gradient,
    begin,
    length,
    num_steps,
    width,
    NUM_SHORT: tl.constexpr,
    NUM_LONG: tl.constexpr,
    PHASES: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    batch, start, columns = _place(tl.program_id(0), length, width, ROWS, COLUMNS, PHASES)
    moments = tl.arange(0, ROWS) * PHASES
    offsets = moments[:, None] * width + columns[None, :]
    place = (batch * num_steps + begin + start) * width
    first, last = -begin - start, num_steps - begin - start
    sums = _zeros(PHASES, ROWS, COLUMNS)
    sums = _filter(sums, dfar + place, offsets, moments, columns, first, last, width, long, NUM_LONG, 1, PHASES)
    sums = _filter(sums, dnear + place, offsets, moments, columns, first, last, width, short, NUM_SHORT, 1, PHASES)
    here = (batch * length + start) * width
    for j in tl.static_range(PHASES):
        inside = (start + moments + j < length)[:, None] & (columns < width)[None, :]
        tl.store(gradient + here + j * width + offsets, sums[j].to(gradient.dtype.element_ty), mask=inside)


@jit
@no_type_check
def _weight_gradient_kernel(
    upstream,
    x,
    totals,
    num_before,
    num_steps,
    width,
    num_tiles,
    num_parts,
    TURNS: tl.constexpr,
    NUM_TAPS: tl.constexpr,
    TAPS: tl.constexpr,
    PHASES: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    column_blocks = (width + COLUMNS - 1) // COLUMNS
    tap_blocks = (NUM_TAPS + TAPS - 1) // TAPS
    part = tl.program_id(0) // (column_blocks * tap_blocks)
    first_lag = (tl.program_id(0) // column_blocks) % tap_blocks * TAPS
    columns = (tl.program_id(0) % column_blocks) * COLUMNS + tl.arange(0, COLUMNS)
    moments = tl.arange(0, ROWS) * PHASES
    offsets = moments[:, None] * width + columns[None, :]
    sums = _zeros(TAPS, ROWS, COLUMNS)
    for turn in range(TURNS):
        tile = part + turn * num_parts
        counted = tl.where(tile < num_tiles, num_steps, 0)  # a turn too many adds nothing
        program = tl.minimum(tile, num_tiles - 1) * column_blocks
        batch, start, _ = _place(program, num_steps, width, ROWS, COLUMNS, PHASES)
        place = upstream + (batch * num_steps + start) * width
        gains = ()
        for j in tl.static_range(PHASES):
            gains = gains + (_load(place + j * width, offsets, moments + j, columns, 0, counted - start, width),)
        place = x + (batch * (num_before + num_steps) + num_before + start - first_lag) * width
        first, last = first_lag - num_before - start, first_lag + num_steps - start
        for k in tl.static_range(1 - TAPS, PHASES):
            value = _load(place + k * width, offsets, moments + k, columns, first, last, width)
            longer = ()
            for lag in tl.static_range(TAPS):
                if lag + k >= 0 and lag + k < PHASES:
                    longer = longer + (sums[lag] + gains[lag + k] * value,)
                else:
                    longer = longer + (sums[lag],)
            sums = longer
    for lag in tl.static_range(TAPS):
        inside = (columns < width) & (first_lag + lag < NUM_TAPS)
        row = part * NUM_TAPS + first_lag + lag
        tl.store(totals + row * width + columns, tl.sum(sums[lag], 0), mask=inside)
