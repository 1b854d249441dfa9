from __future__ import annotations

import hashlib

import numpy as np
import pytest

from models import probes
from models.batch import IGNORED, Batch
from models.probes import ProbeSpec
from models.probes.mqar import Mqar
from models.scale import load_scale

TASK = Mqar(num_pairs=4, num_keys=16)


def digest(batch: Batch) -> str:
    return hashlib.sha256(batch.inputs.tobytes() + batch.targets.tobytes()).hexdigest()[:20]


@pytest.mark.parametrize("length", [16, 17, 32, 64])
def test_every_key_is_asked_for_once_and_answered_with_its_value(length: int):
    batch = TASK.sequences(128, length, np.random.default_rng(0))
    assert batch.inputs.shape == batch.targets.shape == (128, length)
    for inputs, targets in zip(batch.inputs, batch.targets, strict=True):
        value_of = dict(zip(inputs[0:8:2], inputs[1:8:2], strict=True))
        asked = np.flatnonzero(targets != IGNORED)
        assert len(value_of) == len(set(value_of.values())) == len(asked) == 4
        assert asked.min() >= 8
        assert {inputs[place] for place in asked} == set(value_of)
        assert all(targets[place] == value_of[inputs[place]] for place in asked)
        rest = np.setdiff1d(np.arange(8, length), asked)
        assert not inputs[rest].any()


def test_keys_and_values_have_tokens_of_their_own():
    inputs = TASK.sequences(256, 32, np.random.default_rng(0)).inputs
    assert set(inputs[:, 0:8:2].ravel()) == set(range(1, 17))
    assert set(inputs[:, 1:8:2].ravel()) == set(range(17, 33))


def test_chance_is_what_picking_any_value_of_the_sequence_gives():
    batch = TASK.sequences(4000, 32, np.random.default_rng(1))
    rng = np.random.default_rng(0)
    picks = np.take_along_axis(batch.inputs, 1 + 2 * rng.integers(0, 4, batch.inputs.shape), axis=1)
    asked = batch.targets != IGNORED
    assert (picks == batch.targets)[asked].mean() == pytest.approx(TASK.chance(32), abs=0.02)


# Digests taken when a probe could be nothing but mqar, with the figures of conf/scale/cpu and tiny: what campaigns have
# found stays comparable.
@pytest.mark.parametrize(
    ("num_pairs", "length", "batch_size", "eval_items", "training", "evaluation"),
    [
        (4, 24, 16, 256, "2b5185523b52edaca085", "ef9e3943cc9d8f94d8cd"),
        (2, 16, 4, 16, "949d75ae1ae81ab4fe30", "31fa5b01fd5d8fc53874"),
    ],
)
def test_sequences_stay_as_they_were(
    num_pairs: int, length: int, batch_size: int, eval_items: int, training: str, evaluation: str
):
    spec = ProbeSpec(
        name="mqar",
        task=Mqar(num_pairs=num_pairs, num_keys=8),
        length=length,
        steps=1,
        batch_size=batch_size,
        learning_rate=1e-2,
        eval_items=eval_items,
    )
    assert digest(next(probes.batches(spec, 3))) == training
    assert digest(probes.eval_set(spec, 3)) == evaluation


@pytest.mark.parametrize("name", ["cpu", "tiny"])
def test_the_shipped_scales_call_it_by_its_task(name: str):
    for stage in load_scale(name).stages:
        assert [(probe.name, probe.task.kind) for probe in stage.probes] == [("mqar", "mqar")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_pairs": 0, "num_keys": 8}, r"num_pairs is 0; give a whole number"),
        ({"num_pairs": 2.5, "num_keys": 8}, r"num_pairs is 2.5"),
        ({"num_pairs": 9, "num_keys": 8}, r"9 pairs need as many different keys, num_keys is 8"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, int], message: str):
    with pytest.raises(ValueError, match=message):
        Mqar(**options)
