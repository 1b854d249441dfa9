from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from models.batch import IGNORED, Batch
from models.probes.recall import FuzzyRecall, InContextRecall, NoisyRecall
from models.probes.task import BLANK, Task

PLAIN = InContextRecall(num_keys=6)
NOISY = NoisyRecall(num_keys=6, num_noise=5, noise_share=0.3)
FUZZY = FuzzyRecall(num_keys=6, key_alphabet=3, max_tokens=2)

Pair = tuple[tuple[int, ...], tuple[int, ...], int]  # key, value, place of the key's last token


def read_pairs(tokens: np.ndarray, first_value: int, num_values: int) -> Iterator[Pair]:
    """The pairs of a sequence: runs of key tokens and runs of value tokens, whatever else lies between pairs."""
    key: list[int] = []
    value: list[int] = []
    place = 0
    for at, token in enumerate([*tokens.tolist(), BLANK]):
        is_value, is_key = first_value <= token < first_value + num_values, 1 <= token < first_value
        if value and not is_value:
            yield tuple(key), tuple(value), place
            key, value = [], []
        if is_key:
            key.append(token)
            place = at
        elif is_value:
            value.append(token)


CASES = pytest.mark.parametrize(
    ("task", "length", "read"),
    [
        (PLAIN, 33, lambda tokens: read_pairs(tokens, 7, 6)),
        (NOISY, 33, lambda tokens: read_pairs(tokens, 7, 6)),
        (FUZZY, 48, lambda tokens: read_pairs(tokens, 4, 6)),
    ],
    ids=["in_context", "noisy", "fuzzy"],
)
Reader = Callable[[np.ndarray], Iterator[Pair]]


def drawn(task: Task, num: int, length: int) -> Batch:
    return task.sequences(num, length, np.random.default_rng(0))


@CASES
def test_a_key_shown_before_asks_for_its_value_and_nothing_else_counts(task: Task, length: int, read: Reader):
    for inputs, targets in zip(*drawn(task, 200, length), strict=True):
        known: dict[tuple[int, ...], tuple[int, ...]] = {}
        due = {}
        for key, value, place in read(inputs):
            if key in known:
                assert known[key] == value, "one value for a key"
                due[place] = value[0]
            known[key] = value
        assert len({value[0] for value in known.values()}) == len(known), "one key for a value"
        assert due == {place: targets[place] for place in np.flatnonzero(targets != IGNORED)}


@CASES
def test_chance_is_what_guessing_among_the_values_shown_gives(task: Task, length: int, read: Reader):
    rng, hits, asked = np.random.default_rng(1), 0, 0
    for inputs, targets in zip(*drawn(task, 2000, length), strict=True):
        shown: list[int] = []
        for _, value, place in read(inputs):
            if targets[place] != IGNORED:
                asked += 1
                hits += targets[place] == rng.choice(shown)
            shown = sorted({*shown, value[0]})
    assert hits / asked == pytest.approx(task.chance(length), abs=0.012)


@CASES
def test_what_belongs_to_a_key_changes_between_sequences(task: Task, length: int, read: Reader):
    values: dict[tuple[int, ...], set[int]] = {}
    for inputs in drawn(task, 200, length).inputs:
        for key, value, _ in read(inputs):
            values.setdefault(key, set()).add(value[0])
    assert all(len(found) == 6 for found in values.values())


def test_noise_makes_up_its_share_between_pairs_and_never_within():
    inputs = drawn(NOISY, 500, 40).inputs
    noise = inputs >= 13
    assert noise.sum(axis=1).tolist() == [40 - 2 * 14] * 500  # 28 tokens left for 14 pairs
    assert set(inputs[noise]) == set(range(13, 18))
    keys = (inputs >= 1) & (inputs <= 6)
    assert not noise[:, 1:][keys[:, :-1]].any()
    assert noise[:, 0].mean() == pytest.approx(12 / 26, abs=0.07), "any of 14 pairs and 12 tokens may come first"


def test_fuzzy_keys_share_tokens_so_that_the_last_one_alone_does_not_tell_them_apart():
    lengths: set[tuple[int, int]] = set()
    ambiguous = 0
    for inputs in drawn(FUZZY, 100, 48).inputs:
        pairs = [*read_pairs(inputs, 4, 6)]
        lengths |= {(len(key), len(value)) for key, value, _ in pairs}
        keys = {key for key, _, _ in pairs}
        ambiguous += len({key[-1] for key in keys}) < len(keys)
    assert lengths == {(1, 1), (1, 2), (2, 1), (2, 2)}
    assert ambiguous == 100, "6 keys end in 3 tokens"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: InContextRecall(num_keys=0), "num_keys is 0"),
        (lambda: NoisyRecall(num_keys=4, num_noise=4, noise_share=1.0), "noise_share is 1.0; give a share"),
        (lambda: NoisyRecall(num_keys=4, num_noise=4, noise_share="a"), "noise_share is 'a'"),
        (lambda: FuzzyRecall(num_keys=7, key_alphabet=2, max_tokens=2), "7 different keys .* which give 6"),
    ],
)
def test_impossible_options_are_refused(make: Callable[[], Task], message: str):
    with pytest.raises(ValueError, match=message):
        make()
