"""Synthetic tasks with a short training of their own. No torch.

MQAR, multi-query associative recall (Zoology, Arora et al. 2023, arXiv 2312.04927, section 3): key-value pairs, then
the keys again in random order; at each repeated key the model has to name its value. Queries stand at even offsets
after the pairs, and nearer ones are likelier (power law, exponent 0.01 as published). Between queries stands a blank.

Tokens: 0 blank, 1..K keys, K+1..2K values (K = num_keys). Shapes: B batch, T time.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from models.data import Batch
from models.scale import ProbeSpec

IGNORED = -100
_GAP_POWER = 0.01
_EVALUATION_STREAM = 1  # keeps evaluation sequences apart from the training batches of the same seed


def batches(spec: ProbeSpec, seed: int) -> Iterator[Batch]:
    """Endless training batches; they depend on spec and seed alone."""
    rng = np.random.default_rng([seed, 0])
    while True:
        yield _sequences(spec, spec.batch_size, rng)


def eval_set(spec: ProbeSpec, seed: int) -> Batch:
    """`spec.eval_items` sequences from a random stream that training never draws from."""
    return _sequences(spec, spec.eval_items, np.random.default_rng([seed, _EVALUATION_STREAM]))


def chance(spec: ProbeSpec) -> float:
    """Accuracy of a model that knows which values the sequence holds, and not which belongs to the key."""
    return 1.0 / spec.num_pairs


def _sequences(spec: ProbeSpec, num: int, rng: np.random.Generator) -> Batch:
    keys = 1 + _draw(rng, num, spec.num_keys, spec.num_pairs)
    values = 1 + spec.num_keys + _draw(rng, num, spec.num_keys, spec.num_pairs)
    inputs = np.zeros((num, spec.length), dtype=np.int64)
    targets = np.full((num, spec.length), IGNORED, dtype=np.int64)
    context = 2 * spec.num_pairs
    inputs[:, 0:context:2] = keys
    inputs[:, 1:context:2] = values
    num_places = (spec.length - context) // 2
    # Gumbel top-k: places drawn without replacement, in proportion to the power law.
    weight = np.arange(1, num_places + 1) ** (_GAP_POWER - 1.0)
    places = np.argsort(-(np.log(weight) + rng.gumbel(size=(num, num_places))), axis=1)[:, : spec.num_pairs]
    positions = context + 2 * places
    np.put_along_axis(inputs, positions, keys, axis=1)
    np.put_along_axis(targets, positions, values, axis=1)
    return Batch(inputs, targets)


def _draw(
    rng: np.random.Generator, num: int, alphabet: int, size: int
) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """[num, size] different symbols of 0..alphabet-1 in each row."""
    return rng.random((num, alphabet)).argsort(axis=1)[:, :size]
