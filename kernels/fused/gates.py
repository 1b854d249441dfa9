"""The gates of path fusion as device functions: vectors over rows in registers, tuples of them over paths.

The same equations as `kernels.path_fusion`, and their derivatives; a fourth gate, "given", takes the logits for the
shares. Starts are where the slice of each group begins in
the logits of two_stage; its paths begin G earlier.

Shapes: R rows of a program, P paths, G groups, L logits a row. A tuple of L means L vectors [R].
"""

# ruff: noqa: RUF005  (Triton's compiler knows `xs + (x,)` and no unpacking)

from __future__ import annotations

from collections.abc import Callable
from typing import Any, no_type_check

import triton  # type: ignore[import-untyped]
import triton.language as tl  # type: ignore[import-untyped]

jit: Callable[[Callable[..., Any]], Any] = triton.jit


@jit
@no_type_check
def load_columns(table, rows, inside, COUNT: tl.constexpr):
    """Each column of a table [., COUNT] at some rows, a tuple of COUNT."""
    columns = ()
    for i in tl.static_range(COUNT):
        columns = columns + (tl.load(table + rows * COUNT + i, mask=inside, other=0.0).to(tl.float32),)
    return columns


@jit
@no_type_check
def load_scaled(logits, temperature, rows, inside, num_heads, PER_HEAD: tl.constexpr, NUM_LOGITS: tl.constexpr):
    """Logits over temperature, a tuple of L, and the temperature: one number, or one for each row."""
    heat = temperature
    if PER_HEAD:
        heat = tl.load(temperature + rows % num_heads, mask=inside, other=1.0).to(tl.float32)
    columns = load_columns(logits, rows, inside, NUM_LOGITS)
    scaled = ()
    for i in tl.static_range(NUM_LOGITS):
        scaled = scaled + (columns[i] / heat,)
    return scaled, heat


@jit
@no_type_check
def load_floors(floor, strides, rows, inside, num_steps, num_heads, PER_PATH: tl.constexpr, NUM_PATHS: tl.constexpr):
    """Floors, a tuple of P: read through the strides of [B, T, H, P] if PER_PATH, else one number."""
    floors = ()
    if PER_PATH:
        steps = rows // num_heads
        place = floor + (steps // num_steps) * strides[0] + (steps % num_steps) * strides[1]
        place += (rows % num_heads) * strides[2]
        for p in tl.static_range(NUM_PATHS):
            floors = floors + (tl.load(place + p * strides[3], mask=inside, other=0.0).to(tl.float32),)
    else:
        for _ in tl.static_range(NUM_PATHS):
            floors = floors + (floor,)
    return floors


@jit
@no_type_check
def shares_of(scaled, GATE: tl.constexpr, NUM_PATHS: tl.constexpr, GROUPS: tl.constexpr, STARTS: tl.constexpr):
    """Shares, a tuple of P, from scaled logits."""
    shares = ()
    if GATE == "sigmoid":
        for p in tl.static_range(NUM_PATHS):
            small = tl.exp(-tl.abs(scaled[p]))  # at most 1: nothing overflows
            shares = shares + (tl.where(scaled[p] >= 0, 1.0, small) / (1.0 + small),)
    elif GATE == "two_stage":
        budgets = _softmax(scaled, 0, len(GROUPS))
        for g in tl.static_range(len(GROUPS)):
            within = _softmax(scaled, STARTS[g], GROUPS[g])
            for i in tl.static_range(len(within)):
                shares = shares + (budgets[g] * within[i],)
    elif GATE == "softmax":
        shares = _softmax(scaled, 0, NUM_PATHS)
    else:  # given
        shares = scaled
    return shares


@jit
@no_type_check
def rests_of(floors, GATE: tl.constexpr, NUM_PATHS: tl.constexpr):
    """What the floors leave to the shares, a tuple of P."""
    rests = ()
    if GATE == "sigmoid" or GATE == "given":
        for p in tl.static_range(NUM_PATHS):
            rests = rests + (1.0 - floors[p],)
    else:
        rest = 1.0 - floors[0]
        for p in tl.static_range(1, NUM_PATHS):
            rest -= floors[p]
        for _ in tl.static_range(NUM_PATHS):
            rests = rests + (rest,)
    return rests


@jit
@no_type_check
def scaled_gradients(
    scaled, shares, dshares, GATE: tl.constexpr, NUM_PATHS: tl.constexpr, GROUPS: tl.constexpr, STARTS: tl.constexpr
):
    """Gradients of the scaled logits, a tuple of L, from those of the shares."""
    gradients = ()
    if GATE == "sigmoid":
        for p in tl.static_range(NUM_PATHS):
            gradients = gradients + (dshares[p] * shares[p] * (1.0 - shares[p]),)
    elif GATE == "two_stage":
        of_slices = ()
        mean = weighted_mean(shares, dshares, 0, NUM_PATHS)
        budgets = _softmax(scaled, 0, len(GROUPS))
        for g in tl.static_range(len(GROUPS)):
            within = _softmax(scaled, STARTS[g], GROUPS[g])
            own_mean = weighted_mean(within, dshares, STARTS[g] - len(GROUPS), GROUPS[g])
            gradients = gradients + (budgets[g] * (own_mean - mean),)
            for i in tl.static_range(len(within)):
                gain = dshares[STARTS[g] - len(GROUPS) + i] - own_mean
                of_slices = of_slices + (budgets[g] * within[i] * gain,)
        gradients = gradients + of_slices
    elif GATE == "softmax":
        mean = weighted_mean(shares, dshares, 0, NUM_PATHS)
        for p in tl.static_range(NUM_PATHS):
            gradients = gradients + (shares[p] * (dshares[p] - mean),)
    else:  # given
        gradients = dshares
    return gradients


@jit
@no_type_check
def floor_gradients(shares, dweights, GATE: tl.constexpr, NUM_PATHS: tl.constexpr):
    """Gradients of the floors, a tuple of P, from those of the weights."""
    gradients = ()
    if GATE == "sigmoid":
        for p in tl.static_range(NUM_PATHS):
            gradients = gradients + (dweights[p] * (1.0 - shares[p]),)
    else:
        mean = weighted_mean(shares, dweights, 0, NUM_PATHS)
        for p in tl.static_range(NUM_PATHS):
            gradients = gradients + (dweights[p] - mean,)
    return gradients


@jit
@no_type_check
def weighted_mean(weights, values, START: tl.constexpr, COUNT: tl.constexpr):
    """Sum over i of weights[i] * values[START + i]."""
    mean = weights[0] * values[START]
    for i in tl.static_range(1, COUNT):
        mean += weights[i] * values[START + i]
    return mean


@jit
@no_type_check
def _softmax(xs, START: tl.constexpr, COUNT: tl.constexpr):
    most = xs[START]
    for i in tl.static_range(1, COUNT):
        most = tl.maximum(most, xs[START + i])
    first = tl.exp(xs[START] - most)
    powers = (first,)
    total = first
    for i in tl.static_range(1, COUNT):
        power = tl.exp(xs[START + i] - most)
        powers = powers + (power,)
        total += power
    shares = ()
    for i in tl.static_range(COUNT):
        shares = shares + (powers[i] / total,)
    return shares
