from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from models import probes
from models.scale import ProbeSpec

SPEC = ProbeSpec(
    name="mqar", num_pairs=4, num_keys=16, length=32, steps=1, batch_size=64, learning_rate=1e-3, eval_items=128
)


@pytest.mark.parametrize("length", [16, 17, 32, 64])
def test_every_key_is_asked_for_once_and_answered_with_its_value(length: int):
    batch = probes.eval_set(replace(SPEC, length=length), seed=0)
    assert batch.inputs.shape == batch.targets.shape == (128, length)
    for inputs, targets in zip(batch.inputs, batch.targets, strict=True):
        value_of = dict(zip(inputs[0:8:2], inputs[1:8:2], strict=True))
        asked = np.flatnonzero(targets != probes.IGNORED)
        assert len(value_of) == len(set(value_of.values())) == len(asked) == 4
        assert asked.min() >= 8
        assert {inputs[place] for place in asked} == set(value_of)
        assert all(targets[place] == value_of[inputs[place]] for place in asked)
        rest = np.setdiff1d(np.arange(8, length), asked)
        assert not inputs[rest].any()


def test_tokens_stay_inside_the_declared_vocabulary():
    batch = probes.eval_set(SPEC, seed=0)
    assert batch.inputs.max() < SPEC.vocab_size
    assert set(batch.inputs[:, 0:8:2].ravel()) == set(range(1, 17))
    assert set(batch.inputs[:, 1:8:2].ravel()) == set(range(17, 33))


def test_seed_decides_batches_and_evaluation_is_another_stream():
    first, again = (next(probes.batches(SPEC, 3)) for _ in range(2))
    assert np.array_equal(first.inputs, again.inputs)
    assert not np.array_equal(first.inputs, next(probes.batches(SPEC, 4)).inputs)
    assert not np.array_equal(first.inputs, probes.eval_set(replace(SPEC, eval_items=64), 3).inputs)
    one, two = islice(probes.batches(SPEC, 3), 2)
    assert not np.array_equal(one.inputs, two.inputs)


def test_chance_is_what_picking_any_value_of_the_sequence_gives():
    batch = probes.eval_set(replace(SPEC, eval_items=4000), seed=1)
    rng = np.random.default_rng(0)
    picks = np.take_along_axis(batch.inputs, 1 + 2 * rng.integers(0, 4, batch.inputs.shape), axis=1)
    asked = batch.targets != probes.IGNORED
    assert (picks == batch.targets)[asked].mean() == pytest.approx(probes.chance(SPEC), abs=0.02)
