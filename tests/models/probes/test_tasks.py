"""What holds for every task: tokens, streams, what counts."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from models import probes
from models.batch import IGNORED
from models.probes import ProbeSpec
from models.probes.copying import Compression, SelectiveCopying
from models.probes.memorization import Memorization
from models.probes.mqar import Mqar
from models.probes.recall import FuzzyRecall, InContextRecall, NoisyRecall
from models.probes.state_tracking import S3, S5, Parity
from models.probes.task import Task, commonest_share

TASKS: tuple[tuple[Task, int], ...] = (
    (Mqar(num_pairs=4, num_keys=16), 33),
    (InContextRecall(num_keys=6), 33),
    (NoisyRecall(num_keys=6, num_noise=5, noise_share=0.3), 33),
    (FuzzyRecall(num_keys=6, key_alphabet=3, max_tokens=2), 45),
    (SelectiveCopying(num_tokens=5, alphabet=7), 20),
    (Compression(num_tokens=8, alphabet=7), 20),
    (Memorization(num_facts=10), 21),
    (Parity(), 12),
    (S3(moves="all"), 12),
    (S5(moves="swaps"), 12),
)
EVERY_TASK = pytest.mark.parametrize(("task", "length"), TASKS, ids=[task.kind for task, _ in TASKS])


def spec_of(task: Task, length: int, **changes: int) -> ProbeSpec:
    spec = ProbeSpec(name="probe", task=task, length=length, steps=1, batch_size=16, learning_rate=1e-3, eval_items=64)
    return replace(spec, **changes)


def test_every_registered_task_is_tried_here():
    assert sorted(task.kind for task, _ in TASKS) == sorted(probes.TASKS)
    assert all(type(task) is probes.TASKS[task.kind] for task, _ in TASKS)


@EVERY_TASK
def test_tokens_stay_inside_the_declared_vocabulary_and_every_sequence_counts(task: Task, length: int):
    inputs, targets = probes.eval_set(spec_of(task, length, eval_items=500), seed=0)
    assert inputs.shape == targets.shape == (500, length)
    assert inputs.dtype == targets.dtype == np.int64
    assert inputs.min() >= 0
    counted = targets[targets != IGNORED]
    assert counted.min() >= 0
    assert max(inputs.max(), counted.max()) == task.vocab_size - 1
    assert (targets != IGNORED).any(axis=1).all()


@EVERY_TASK
def test_seed_decides_batches_and_evaluation_is_another_stream(task: Task, length: int):
    spec = spec_of(task, length, eval_items=16)
    first, again = (next(probes.batches(spec, 3)) for _ in range(2))
    assert np.array_equal(first.inputs, again.inputs)
    assert np.array_equal(first.targets, again.targets)
    assert not np.array_equal(first.inputs, next(probes.batches(spec, 4)).inputs)
    assert not np.array_equal(first.inputs, probes.eval_set(spec, 3).inputs)
    one, two = islice(probes.batches(spec, 3), 2)
    assert not np.array_equal(one.inputs, two.inputs)


@EVERY_TASK
def test_evaluation_sequences_are_not_those_trained_on(task: Task, length: int):
    spec = spec_of(task, max(length, 40), batch_size=200, eval_items=50)
    trained = {row.tobytes() for batch in islice(probes.batches(spec, 0), 5) for row in batch.inputs}
    assert not trained & {row.tobytes() for row in probes.eval_set(spec, 0).inputs}


@EVERY_TASK
def test_the_shortest_length_works_and_a_shorter_one_is_refused(task: Task, length: int):
    shortest = spec_of(task, task.min_length)
    assert (probes.eval_set(shortest, 0).targets != IGNORED).any(axis=1).all()
    assert 0 < shortest.chance < 1
    if task.min_length > 1:
        with pytest.raises(ValueError, match=rf"length is {task.min_length - 1};.* lengthen it"):
            spec_of(task, task.min_length - 1)


@EVERY_TASK
def test_random_state_of_the_process_is_neither_read_nor_moved(task: Task, length: int):
    spec = spec_of(task, length)
    np.random.seed(0)
    before = probes.eval_set(spec, 0)
    state = np.random.get_state()[1]
    np.random.seed(1)
    after = probes.eval_set(spec, 0)
    np.random.seed(0)
    assert np.array_equal(before.inputs, after.inputs)
    assert np.array_equal(state, np.random.get_state()[1])


@pytest.mark.parametrize(("num", "alphabet"), [(1, 5), (2, 2), (4, 8), (9, 3), (30, 2)])
def test_share_of_the_commonest_symbol_is_what_sampling_gives(num: int, alphabet: int):
    drawn = np.random.default_rng(0).integers(0, alphabet, (20_000, num))
    counts = (drawn[:, :, None] == np.arange(alphabet)).sum(axis=1)
    assert commonest_share(num, alphabet) == pytest.approx((counts.max(axis=1) / num).mean(), abs=0.01)
    assert commonest_share(2, 2) == pytest.approx(0.75)
