from __future__ import annotations

import numpy as np
import pytest

from models.batch import IGNORED
from models.probes.copying import Compression, SelectiveCopying
from models.probes.task import Ints, Task

COPYING, COMPRESSION = SelectiveCopying(num_tokens=5, alphabet=7), Compression(num_tokens=5, alphabet=7)


def test_markers_ask_for_the_tokens_among_the_blanks_in_their_order():
    inputs, targets = COPYING.sequences(300, 20, np.random.default_rng(0))
    for row, due in zip(inputs, targets, strict=True):
        assert row[15:].tolist() == [1] * 5
        assert due[15:].tolist() == row[:15][row[:15] >= 2].tolist()
    assert (targets[:, :15] == IGNORED).all()
    assert (inputs[:, :15] >= 2).any(axis=0).all(), "tokens may stand anywhere before the markers"


def test_markers_after_the_compress_token_ask_for_positions_in_random_order():
    inputs, targets = COMPRESSION.sequences(300, 13, np.random.default_rng(0))
    for row, due in zip(inputs, targets, strict=True):
        assert (row[5], row[11], row[12]) == (1, 0, 0)
        assert sorted(row[6:11]) == [2, 3, 4, 5, 6]
        assert due[6:11].tolist() == [row[marker - 2] for marker in row[6:11]]
    assert (targets[:, [0, 1, 2, 3, 4, 5, 11, 12]] == IGNORED).all()
    assert len({tuple(row) for row in inputs[:, 6:11]}) > 60, "of 120 orders"


@pytest.mark.parametrize(
    ("task", "length", "first_token"), [(COPYING, 20, 2), (COMPRESSION, 11, 7)], ids=["copying", "compression"]
)
def test_chance_is_what_naming_the_commonest_token_gives(task: Task, length: int, first_token: int):
    inputs, targets = task.sequences(5000, length, np.random.default_rng(0))
    counts_NA = (inputs[:, :, None] == first_token + np.arange(7)).sum(axis=1)
    commonest: Ints = first_token + counts_NA.argmax(axis=1)
    asked = targets != IGNORED
    assert (commonest[:, None] == targets)[asked].mean() == pytest.approx(task.chance(length), abs=0.01)


@pytest.mark.parametrize("kind", [SelectiveCopying, Compression])
def test_impossible_options_are_refused(kind: type[SelectiveCopying] | type[Compression]):
    with pytest.raises(ValueError, match="alphabet is 0; give a whole number"):
        kind(num_tokens=3, alphabet=0)
