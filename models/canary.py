"""The leak canary: on tokens drawn independently and uniformly nobody can predict, so whoever does has seen the future.

A short training of its own, then fresh tokens in the sealed evaluation: over an alphabet of V tokens the expected loss
of an honest model is ln V or more, whatever it has learned. It catches what no gate tried: a leak at lengths, modes or
weights that were not among those checked, and one that only training opens.

Not guaranteed: a leak that stays shut at the canary's length, or that its few steps are too short to learn.
No torch: Ray workers import this. Shapes: B batch, T time, N windows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from models.data import Batch
from models.scale import CanarySpec

_EVAL_STREAM = 1  # keeps the evaluation's tokens apart from every batch of the training
_SIGMAS = 4.0  # sampling error allowed for: one honest trial in 30,000 falls below
_FLOOR_NATS = 0.005


def batches(spec: CanarySpec, seed: int) -> Iterator[Batch]:
    """Endless fresh windows; targets are the next token, as in text."""
    rng = np.random.default_rng([seed, 0])
    while True:
        yield _windows(spec, spec.batch_size, rng)


def eval_set(spec: CanarySpec, seed: int) -> Batch:
    """The windows that the sealed evaluation scores."""
    return _windows(spec, spec.eval_windows, np.random.default_rng([seed, _EVAL_STREAM]))


def caught(spec: CanarySpec, loss: float, stderr: float | None) -> str | None:
    """Why a sealed loss on uniform tokens cannot be honest; None where it can."""
    allowed = max(_FLOOR_NATS, _SIGMAS * (stderr or 0.0))
    if loss >= spec.bound_nats - allowed:
        return None
    return (
        f"loss {loss:.4f} on independent uniform tokens, where no honest model falls below ln {spec.alphabet} = "
        f"{spec.bound_nats:.4f} by more than {allowed:.4f}: the output at t depends on tokens after t"
    )


def training_error(spec: CanarySpec) -> float:
    """A generous sampling error of a training point's loss: one nat for each token that it is the mean of."""
    return 1.0 / math.sqrt(spec.report_every * spec.batch_size * spec.length)


def _windows(spec: CanarySpec, num: int, rng: np.random.Generator) -> Batch:
    tokens = rng.integers(0, spec.alphabet, size=(num, spec.length + 1))
    return Batch(inputs=tokens[:, :-1].copy(), targets=tokens[:, 1:].copy())
