from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.data import PackedTokens, batch_at, handed_tokens, layout_of, text_batches, windows
from models.data.batches import permuted


def packed(num_tokens: int, *cuts: int) -> PackedTokens:
    return PackedTokens(np.split(np.arange(num_tokens, dtype=np.uint16), cuts))


@given(st.integers(1, 3_000), st.text(max_size=5))
def test_the_order_is_a_permutation(size: int, key: str):
    assert sorted(permuted(np.arange(size), size, key).tolist()) == list(range(size))


def test_the_order_is_the_same_on_every_machine():
    assert permuted(np.arange(10), 10, "0/0").tolist() == [2, 5, 7, 9, 4, 3, 6, 1, 8, 0]
    assert permuted(np.array([5]), 10**12, "7/3").tolist() == [677489057418]


def test_the_order_is_mixed():
    found = permuted(np.arange(10_000), 10_000, "0/0")
    assert abs(np.corrcoef(found, np.arange(10_000))[0, 1]) < 0.05
    assert abs(np.corrcoef(found[1:], found[:-1])[0, 1]) < 0.05


def test_spans_run_over_shards():
    tokens = packed(100, 7, 8, 50)
    assert tokens.counts == (7, 1, 42, 50)
    found = tokens.spans(np.array([0, 5, 6, 90]), 10)
    assert found.tolist() == [list(range(start, start + 10)) for start in (0, 5, 6, 90)]


def test_spans_beyond_the_end_are_an_error():
    with pytest.raises(IndexError, match=r"\[91, 101\) of 100"):
        packed(100, 50).spans(np.array([91]), 10)


def test_an_epoch_reads_every_window_once_and_the_next_in_another_order():
    tokens = packed(101, 33)  # ten windows of ten
    batches = list(islice(text_batches(tokens, 4, 10, seed=1), 5))  # two epochs, the third batch in both
    starts = np.concatenate([batch.inputs[:, 0] for batch in batches])
    assert sorted(starts[:10].tolist()) == sorted(starts[10:].tolist()) == list(range(0, 100, 10))
    assert starts[:10].tolist() != starts[10:].tolist()
    for batch in batches:
        assert np.array_equal(batch.inputs + 1, batch.targets)


def test_any_batch_is_known_without_those_before():
    tokens = packed(1_001, 400)
    in_order = list(islice(text_batches(tokens, 8, 10, seed=3), 30))
    assert np.array_equal(batch_at(tokens, 8, 10, 3, 29).inputs, in_order[29].inputs)
    assert np.array_equal(next(text_batches(tokens, 8, 10, 3, start=17)).inputs, in_order[17].inputs)
    assert not np.array_equal(batch_at(tokens, 8, 10, 4, 29).inputs, in_order[29].inputs)


def test_the_shards_do_not_change_the_order():
    whole, cut = packed(1_001), packed(1_001, 1, 400, 401, 1_000)
    assert np.array_equal(batch_at(whole, 8, 10, 3, 5).inputs, batch_at(cut, 8, 10, 3, 5).inputs)
    assert np.array_equal(windows(whole, 50, 10, 3).inputs, windows(cut, 50, 10, 3).inputs)


def test_too_few_packed_tokens_are_refused():
    with pytest.raises(ValueError, match="100 tokens, 101 are needed"):
        text_batches(packed(100, 50), 1, 100, seed=0)


def test_a_child_maps_what_it_was_handed(tmp_path: Path):
    paths = [tmp_path / "a.bin", tmp_path / "b.bin"]
    for path, numbers in zip(paths, np.split(np.arange(70_000, dtype=np.uint32), [3]), strict=True):
        path.write_bytes(numbers.tobytes())
    tokens = PackedTokens.mapped(paths, "uint32")
    with tokens.lent() as fds:
        seen = handed_tokens(fds, layout_of(tokens))
        wrong = layout_of(tokens) | {"counts": [3, 5]}
        with pytest.raises(ValueError, match="69997 tokens, 5 were told"):
            handed_tokens(fds, wrong)
        with pytest.raises(ValueError, match="1 files were handed over, 2"):
            handed_tokens(fds[:1], layout_of(tokens))
    assert isinstance(seen, PackedTokens)
    assert np.array_equal(batch_at(seen, 8, 100, 0, 3).inputs, batch_at(tokens, 8, 100, 0, 3).inputs)


def test_an_empty_shard_is_no_tokens():
    with pytest.raises(ValueError, match="empty"):
        PackedTokens([np.arange(3, dtype=np.uint8), np.arange(0, dtype=np.uint8)])
