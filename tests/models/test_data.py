from __future__ import annotations

import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from models.data import DataSpec, load_corpus, text_batches, windows

SMALL = DataSpec(max_bytes=300_000)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(40):
        target = tmp_path / f"part{number % 3}" / f"{number}.txt"
        target.parent.mkdir(exist_ok=True)
        target.write_text(f"<{number}>" * 50)
    (tmp_path / "image.bin").write_bytes(b"\xff" * 1000)
    return tmp_path


def test_standard_library_is_there_within_the_cap():
    corpus = load_corpus(SMALL)
    assert len(corpus.train) + len(corpus.validation) + len(corpus.heldout) == 300_000
    assert min(len(corpus.validation), len(corpus.heldout)) > 1000
    assert b"import " in corpus.train.tobytes()


def test_another_process_reads_the_same_corpus():
    code = "from models.data import *; print(load_corpus(DataSpec(max_bytes=300_000)).digest)"
    seen = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    assert seen == load_corpus(SMALL).digest


def test_no_file_is_in_two_splits(folder: Path):
    corpus = load_corpus(DataSpec(source=str(folder)))
    numbers = [
        set(corpus.split(name).tobytes().decode().replace("><", "> <").split())
        for name in ("train", "validation", "heldout")
    ]
    assert [len(part) for part in numbers] == [36, 2, 2]
    assert len(set.union(*numbers)) == 40


def test_digest_follows_contents_and_seed(folder: Path):
    spec = DataSpec(source=str(folder))
    before = load_corpus(spec).digest
    assert load_corpus(DataSpec(source=str(folder), seed=1)).digest != before
    (folder / "part0" / "0.txt").write_text("changed")
    load_corpus.cache_clear()
    assert load_corpus(spec).digest != before


def test_arrays_are_read_only(folder: Path):
    with pytest.raises(ValueError, match="read-only"):
        load_corpus(DataSpec(source=str(folder))).train[0] = 1


def test_missing_folder_is_named(tmp_path: Path):
    with pytest.raises(ValueError, match="nowhere"):
        load_corpus(DataSpec(source=str(tmp_path / "nowhere")))


@pytest.mark.parametrize("num_files", [0, 1, 2])
def test_too_few_files_to_split_are_refused_with_a_remedy(tmp_path: Path, num_files: int):
    for number in range(num_files):
        (tmp_path / f"{number}.txt").write_text("text")
    with pytest.raises(ValueError, match=f"{num_files} text files.*split -n"):
        load_corpus(DataSpec(source=str(tmp_path)))


@pytest.mark.parametrize(
    ("values", "message"), [({"max_bytes": 0}, "is 0"), ({"tokenizer": "bpe"}, "'bpe'"), ({"source": ""}, "empty")]
)
def test_bad_specs_are_refused(values: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        DataSpec(**values)  # type: ignore[arg-type]


def test_targets_follow_inputs_and_seeds_decide_the_order():
    tokens = load_corpus(SMALL).train
    first, again, other = (list(islice(text_batches(tokens, 4, 32, seed), 3)) for seed in (5, 5, 6))
    for batch, same in zip(first, again, strict=True):
        assert np.array_equal(batch.inputs, same.inputs)
        assert np.array_equal(batch.inputs[:, 1:], batch.targets[:, :-1])
    assert not np.array_equal(first[0].inputs, other[0].inputs)
    assert not np.array_equal(first[0].inputs, first[1].inputs)


def test_windows_do_not_overlap():
    tokens = np.arange(201, dtype=np.uint8)
    batch = windows(tokens, 20, 10, seed=0)
    assert np.array_equal(batch.inputs.ravel(), np.arange(200))
    assert np.array_equal(batch.targets.ravel(), np.arange(1, 201))
    some = windows(tokens, 5, 10, seed=0)
    assert len(set(some.inputs.ravel().tolist())) == 50


def test_a_split_too_small_for_the_windows_is_refused():
    tokens = np.zeros(100, dtype=np.uint8)
    with pytest.raises(ValueError, match="100 tokens, 101 are needed"):
        windows(tokens, 10, 10, seed=0)
    with pytest.raises(ValueError, match="100 tokens, 101 are needed"):
        text_batches(tokens, 1, 100, seed=0)
