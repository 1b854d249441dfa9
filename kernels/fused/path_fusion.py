"""Path fusion in one pass: gates and mixture in registers, forward and backward.

Both passes are bound by memory bandwidth. Forward reads every path once and writes the output; backward reads the
upstream gradient and every path once and writes every path's gradient. The weights never reach memory: backward makes
them again from the logits, which are V times smaller than the paths, and finishes the chain rule to logits,
temperatures and floors in registers. A program owns some rows and all of their channels, so that sums over channels
stay inside it: nothing is atomic, and results are the same every time.

Arithmetic is float32. The launches are custom operators, so that torch.compile calls them and looks no further.

Shapes: B batch, T time, H heads, V value dim per head, P paths, G groups, L logits per head, R = B * T * H rows.
"""

# ruff: noqa: RUF005  (Triton's compiler knows `xs + (x,)` and no unpacking)

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, no_type_check

import torch
import triton  # type: ignore[import-untyped]
import triton.language as tl  # type: ignore[import-untyped]
from torch import Tensor

from kernels.fused.gates import (
    floor_gradients,
    jit,
    load_floors,
    load_scaled,
    rests_of,
    scaled_gradients,
    shares_of,
    weighted_mean,
)

_ELEMENTS = 2048  # of one path in a program: with 128 threads each has 32 bytes of bf16 of every path in flight


def fused(
    paths: Sequence[Tensor],
    logits: Tensor,
    *,
    gate: str = "softmax",
    temperature: float | Tensor = 1.0,
    floor: float | Tensor = 0.0,
    groups: Sequence[int] = (),
) -> Tensor:
    """o_BTHV as in `kernels.path_fusion.reference`, on CUDA, or on any device under TRITON_INTERPRET=1.

    Arguments are checked by `kernels.path_fusion.check`, not here. Differentiable once, in every tensor given. Made for
    up to 8 paths; code and registers grow with their number. ValueError for float64.
    """
    _check_dtypes(paths)
    return _apply(logits, temperature, floor, gate, tuple(groups), *paths)


def mix(paths: Sequence[Tensor], weights: Tensor) -> Tensor:
    """o_BTHV as in `kernels.path_fusion.mix`: the same kernels with the weights given. Limits as `fused`."""
    _check_dtypes(paths)
    return _apply(weights, 1.0, 0.0, "given", (), *paths)


def _check_dtypes(paths: Sequence[Tensor]) -> None:
    if any(path.dtype == torch.float64 for path in paths):
        raise ValueError("a path has dtype torch.float64; the fused kernel has float32 alone: use kernels.path_fusion")


class _PathFusion(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        temperature: float | Tensor,
        floor: float | Tensor,
        gate: str,
        groups: tuple[int, ...],
        *paths: Tensor,
    ) -> Tensor:
        heat, heat_H = (1.0, temperature) if isinstance(temperature, Tensor) else (float(temperature), None)
        least, floor_BTHP = (0.0, floor) if isinstance(floor, Tensor) else (float(floor), None)
        ctx.save_for_backward(logits, heat_H, floor_BTHP, *paths)
        ctx.options = (heat, least, gate, list(groups))
        out: Tensor = _forward(paths, logits, heat_H, floor_BTHP, *ctx.options)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        logits, heat_H, floor_BTHP, *paths = ctx.saved_tensors
        needed = list(ctx.needs_input_grad[:3] + ctx.needs_input_grad[5:])
        found = _backward(dout, paths, logits, heat_H, floor_BTHP, *ctx.options, needed)
        dlogits, dheat_BTH, dfloor_BTHP, *dpaths = [x if need else None for x, need in zip(found, needed, strict=True)]
        dheat_H = dheat_BTH.sum((0, 1)).to(heat_H.dtype) if dheat_BTH is not None else None
        dfloor = dfloor_BTHP.sum_to_size(floor_BTHP.shape).to(floor_BTHP.dtype) if dfloor_BTHP is not None else None
        return dlogits, dheat_H, dfloor, None, None, *dpaths


_apply: Callable[..., Tensor] = _PathFusion.apply


@torch.library.custom_op("architecture_research::path_fusion", mutates_args=())
def _forward(
    paths: Sequence[Tensor],
    logits: Tensor,
    heat_H: Tensor | None,
    floor_BTHP: Tensor | None,
    heat: float,
    least: float,
    gate: str,
    groups: Sequence[int],
) -> Tensor:
    paths = tuple(path.contiguous() for path in paths)
    out = paths[0].new_empty(paths[0].shape)
    inputs = (paths, logits.contiguous(), heat if heat_H is None else heat_H.contiguous())
    floors = least if floor_BTHP is None else floor_BTHP
    _launch(_forward_kernel, (*inputs, floors), (out,), gate, groups)
    return out


@_forward.register_fake
def _forward_shape(paths: Sequence[Tensor], *_: Any) -> Tensor:
    return paths[0].new_empty(paths[0].shape)


@torch.library.custom_op("architecture_research::path_fusion_backward", mutates_args=())
def _backward(
    dout: Tensor,
    paths: Sequence[Tensor],
    logits: Tensor,
    heat_H: Tensor | None,
    floor_BTHP: Tensor | None,
    heat: float,
    least: float,
    gate: str,
    groups: Sequence[int],
    needed: Sequence[bool],
) -> list[Tensor]:
    """Gradients of logits, temperatures [B, T, H], floors [B, T, H, P] and each path; empty where not needed."""
    paths = tuple(path.contiguous() for path in paths)
    found = _empty_gradients(paths, logits, needed)
    dlogits, dheat, dfloor, *dpaths = [x if need else None for x, need in zip(found, needed, strict=True)]
    if dlogits is None and (dheat is not None or dfloor is not None):
        dlogits = torch.empty_like(logits, memory_format=torch.contiguous_format)  # on the way to the other two
    inputs = (paths, logits.contiguous(), heat if heat_H is None else heat_H.contiguous())
    floors = least if floor_BTHP is None else floor_BTHP
    outputs = (dout.contiguous(), tuple(dpaths), dlogits, dheat, dfloor)
    _launch(_backward_kernel, (*inputs, floors), outputs, gate, groups)
    return found


@_backward.register_fake
def _backward_shapes(dout: Tensor, paths: Sequence[Tensor], logits: Tensor, *options: Any) -> list[Tensor]:
    return _empty_gradients(paths, logits, options[-1])


def _empty_gradients(paths: Sequence[Tensor], logits: Tensor, needed: Sequence[bool]) -> list[Tensor]:
    steps_BTH = paths[0].shape[:3]
    shapes = [logits.shape, steps_BTH, (*steps_BTH, len(paths)), *(path.shape for path in paths)]
    dtypes = [logits.dtype, torch.float32, torch.float32, *(path.dtype for path in paths)]
    return [
        logits.new_empty(shape if need else 0, dtype=dtype)
        for shape, dtype, need in zip(shapes, dtypes, needed, strict=True)
    ]


def _launch(kernel: Any, inputs: tuple[Any, ...], outputs: tuple[Any, ...], gate: str, groups: Sequence[int]) -> None:
    """One program for every few rows, which is enough of them for any GPU from some ten thousand rows up."""
    paths, logits, heat, floor = inputs
    batch, steps, heads, width = paths[0].shape
    num_rows = batch * steps * heads
    if not num_rows * width:
        return
    columns = triton.next_power_of_2(width)
    rows = max(1, min(_ELEMENTS // columns, triton.next_power_of_2(num_rows)))
    per_path = isinstance(floor, Tensor)
    with torch.cuda.device_of(logits):  # type: ignore[no-untyped-call]
        kernel[(triton.cdiv(num_rows, rows),)](
            *inputs,
            floor.expand(batch, steps, heads, len(paths)).stride() if per_path else (0, 0, 0, 0),
            *outputs,
            num_rows,
            steps,
            heads,
            width,
            GATE=gate,
            NUM_PATHS=len(paths),
            NUM_LOGITS=logits.shape[-1],
            GROUPS=tuple(groups),
            STARTS=tuple(accumulate(groups, initial=len(groups)))[:-1],
            PER_HEAD=isinstance(heat, Tensor),
            PER_PATH=per_path,
            ROWS=rows,
            COLUMNS=columns,
            num_warps=4 if rows * columns <= _ELEMENTS else 8,
        )


@jit
@no_type_check
def _forward_kernel(
    paths,
    logits,
    temperature,
    floor,
    floor_strides,
    out,
    num_rows,
    num_steps,
    num_heads,
    width,
    GATE: tl.constexpr,
    NUM_PATHS: tl.constexpr,
    NUM_LOGITS: tl.constexpr,
    GROUPS: tl.constexpr,
    STARTS: tl.constexpr,
    PER_HEAD: tl.constexpr,
    PER_PATH: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    columns = tl.arange(0, COLUMNS)
    inside = rows < num_rows
    visible = inside[:, None] & (columns < width)[None, :]
    offsets = rows[:, None] * width + columns[None, :]
    scaled, _ = load_scaled(logits, temperature, rows, inside, num_heads, PER_HEAD, NUM_LOGITS)
    shares = shares_of(scaled, GATE, NUM_PATHS, GROUPS, STARTS)
    floors = load_floors(floor, floor_strides, rows, inside, num_steps, num_heads, PER_PATH, NUM_PATHS)
    rests = rests_of(floors, GATE, NUM_PATHS)
    mixed = tl.full([ROWS, COLUMNS], 0.0, tl.float32)
    for p in tl.static_range(NUM_PATHS):
        weight = floors[p] + rests[p] * shares[p]
        mixed += weight[:, None] * tl.load(paths[p] + offsets, mask=visible, other=0.0).to(tl.float32)
    tl.store(out + offsets, mixed.to(out.dtype.element_ty), mask=visible)


@jit
@no_type_check
def _backward_kernel(
    paths,
    logits,
    temperature,
    floor,
    floor_strides,
    dout,
    dpaths,  # None for each path that needs no gradient
    dlogits,  # None if none of these three is needed
    dtemperature,  # of each row, or None
    dfloor,  # of each row and path, or None
    num_rows,
    num_steps,
    num_heads,
    width,
    GATE: tl.constexpr,
    NUM_PATHS: tl.constexpr,
    NUM_LOGITS: tl.constexpr,
    GROUPS: tl.constexpr,
    STARTS: tl.constexpr,
    PER_HEAD: tl.constexpr,
    PER_PATH: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    columns = tl.arange(0, COLUMNS)
    inside = rows < num_rows
    visible = inside[:, None] & (columns < width)[None, :]
    offsets = rows[:, None] * width + columns[None, :]
    scaled, heat = load_scaled(logits, temperature, rows, inside, num_heads, PER_HEAD, NUM_LOGITS)
    shares = shares_of(scaled, GATE, NUM_PATHS, GROUPS, STARTS)
    floors = load_floors(floor, floor_strides, rows, inside, num_steps, num_heads, PER_PATH, NUM_PATHS)
    rests = rests_of(floors, GATE, NUM_PATHS)
    upstream = tl.load(dout + offsets, mask=visible, other=0.0).to(tl.float32)
    dweights = ()
    dshares = ()
    for p in tl.static_range(NUM_PATHS):
        if dlogits is not None:
            path = tl.load(paths[p] + offsets, mask=visible, other=0.0).to(tl.float32)
            dweight = tl.sum(upstream * path, 1)
            dweights = dweights + (dweight,)
            dshares = dshares + (rests[p] * dweight,)
        if dpaths[p] is not None:
            dpath = (floors[p] + rests[p] * shares[p])[:, None] * upstream
            tl.store(dpaths[p] + offsets, dpath.to(dpaths[p].dtype.element_ty), mask=visible)
    if dlogits is not None:
        dscaled = scaled_gradients(scaled, shares, dshares, GATE, NUM_PATHS, GROUPS, STARTS)
        for i in tl.static_range(NUM_LOGITS):
            tl.store(dlogits + rows * NUM_LOGITS + i, (dscaled[i] / heat).to(dlogits.dtype.element_ty), mask=inside)
        if dtemperature is not None:
            tl.store(dtemperature + rows, -weighted_mean(dscaled, scaled, 0, NUM_LOGITS) / heat, mask=inside)
        if dfloor is not None:
            dfloors = floor_gradients(shares, dweights, GATE, NUM_PATHS)
            for p in tl.static_range(NUM_PATHS):
                tl.store(dfloor + rows * NUM_PATHS + p, dfloors[p], mask=inside)
