from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from models import probes
from models.batch import IGNORED, Batch
from models.probes import ProbeSpec
from models.probes.memorization import Memorization

SPEC = ProbeSpec(
    name="facts",
    task=Memorization(num_facts=10),
    length=21,
    steps=1,
    batch_size=32,
    learning_rate=1e-3,
    eval_items=200,
)


def facts(batch: Batch) -> dict[int, int]:
    """What the batch teaches: key -> value. A key with two values fails."""
    table: dict[int, int] = {}
    for row, due in zip(*batch, strict=True):
        places = np.flatnonzero(due != IGNORED)
        assert places.tolist() == [*range(1, 20, 2)]
        assert set(row[places]) == {1}
        for place in places:
            assert table.setdefault(int(row[place - 1]), int(due[place])) == due[place]
    return table


def test_the_facts_are_the_same_in_training_and_evaluation_and_for_every_seed():
    trained, elsewhere = facts(next(probes.batches(SPEC, 0))), facts(next(probes.batches(SPEC, 7)))
    asked = facts(probes.eval_set(SPEC, 3))
    assert trained == elsewhere == asked
    assert sorted(asked) == [*range(2, 12)]
    assert sorted(asked.values()) == [*range(12, 22)], "one to one"


def test_another_number_of_facts_has_another_table():
    more = facts(probes.eval_set(replace(SPEC, task=Memorization(num_facts=11)), 3))
    asked = facts(probes.eval_set(SPEC, 3))
    assert [value - 13 for value in more.values()][:10] != [value - 12 for value in asked.values()]


def test_chance_is_what_any_one_value_gives():
    due = np.concatenate([batch.targets for batch in islice(probes.batches(SPEC, 0), 200)])
    counted = due[due != IGNORED]
    for value in range(12, 22):
        assert (counted == value).mean() == pytest.approx(SPEC.chance, abs=0.01)
