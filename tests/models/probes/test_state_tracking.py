from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from models.batch import Batch
from models.probes.state_tracking import S3, S5, Parity
from models.probes.task import Task

CASES = pytest.mark.parametrize(
    ("task", "degree", "num_moves"),
    [
        (Parity(), 2, 2),
        (S3(moves="all"), 3, 6),
        (S3(moves="swaps"), 3, 4),
        (S5(moves="all"), 5, 120),
        (S5(moves="swaps"), 5, 11),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else f"{value.kind}-{getattr(value, 'moves', '')}",
)


def drawn(task: Task, num: int, length: int, seed: int = 0) -> Batch:
    return task.sequences(num, length, np.random.default_rng(seed))


def test_parity_is_the_number_of_ones_so_far_modulo_two():
    inputs, targets = drawn(Parity(), 50, 30)
    assert np.array_equal(targets, inputs.cumsum(axis=1) % 2)


@CASES
def test_the_answer_is_where_all_moves_so_far_have_taken_each_thing(task: Task, degree: int, num_moves: int):
    elements = [*permutations(range(degree))]
    inputs, targets = drawn(task, 40, 12)
    for moves, states in zip(inputs, targets, strict=True):
        places = [*range(degree)]  # of every thing
        for move, state in zip(moves, states, strict=True):
            places = [elements[move][place] for place in places]
            assert tuple(places) == elements[state]


@CASES
def test_all_moves_occur_equally_often_at_every_step(task: Task, degree: int, num_moves: int):
    inputs = drawn(task, 400 * num_moves, 3).inputs
    for step in range(3):
        counts = np.bincount(inputs[:, step])
        assert (counts > 0).sum() == num_moves
        assert counts[counts > 0].min() > 300


@CASES
def test_chance_is_what_the_likeliest_answer_to_the_last_token_gives(task: Task, degree: int, num_moves: int):
    """Learned by counting on half of the sequences and tried on the other half, so a little is lost to sampling."""
    length = 6
    (inputs, targets), asked = drawn(task, 60_000, length), drawn(task, 20_000, length, seed=1)
    hits = 0.0
    for step in range(length):
        counts = np.zeros((task.vocab_size, task.vocab_size), dtype=np.int64)
        np.add.at(counts, (inputs[:, step], targets[:, step]), 1)
        hits += (counts.argmax(axis=1)[asked.inputs[:, step]] == asked.targets[:, step]).mean()
    assert hits / length == pytest.approx(task.chance(length), abs=0.01)


def test_chance_of_a_uniform_group_has_a_closed_form():
    assert S3(moves="all").chance(10) == pytest.approx((1 + 9 / 6) / 10)
    assert Parity().chance(2) == pytest.approx(0.75)
    assert S5(moves="swaps").chance(2) == pytest.approx((1 + 1 / 11) / 2)


def test_unknown_moves_are_refused():
    with pytest.raises(ValueError, match=r"s3.moves is 'turns'; use one of all, swaps"):
        S3(moves="turns")
