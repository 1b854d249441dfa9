from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from models.data import DataSpec, in_memory, load_corpus, load_spec, require_enough, text_batches, windows
from models.scale import load_scale

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
    ("values", "message"),
    [
        ({"max_bytes": 0}, "is 0"),
        ({"max_tokens": -1}, "is -1"),
        ({"source": ""}, "empty"),
        ({"source": "hf:"}, "empty"),
        ({"column": ""}, "column"),
        ({"held_share": 0.5}, "below 0.5"),
        ({"tokenizer": "words"}, "'words'.*bytes, bpe, gpt2, file"),
        ({"tokenizer": "bpe"}, "vocab_size is None.*257 or more"),
        ({"tokenizer": "bpe", "vocab_size": 256}, "is 256.*257"),
        ({"vocab_size": 500}, "vocab_size is 500.*tokenizer=bpe"),
        ({"tokenizer": "file"}, "tokenizer_file"),
        ({"tokenizer_file": "x.json"}, "x.json.*tokenizer=file"),
        ({"config": "sample-10BT"}, "config is for Hugging Face"),
    ],
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


def test_the_corpora_of_earlier_campaigns_are_what_they_were(tmp_path: Path):
    """Digests of the first version, whose campaigns have to stay comparable."""
    for number in range(60):
        path = tmp_path / f"part{number % 4}" / f"{number}{('.txt', '.md', '.py')[number % 3]}"
        path.parent.mkdir(exist_ok=True)
        lines = (hashlib.sha256(f"{number}/{line}".encode()).hexdigest() for line in range(5 + number))
        path.write_text("".join(f"{line}\n" for line in lines))
    for caps, seen in (
        ({}, ("69cb0d13e21bd364cd5aa0b39777abafc35d2b78819ea8a019220d7019428466", 121355, 7280, 5915)),
        (
            {"max_bytes": 30_001, "seed": 3},
            ("f1702a73ab6526a57557fbda9f7604cecccb901c6bf41a998a31d356e9235894", 25711, 2275, 2015),
        ),
    ):
        corpus = load_corpus(DataSpec(source=str(tmp_path), **caps))
        assert (corpus.digest, len(corpus.train), len(corpus.validation), len(corpus.heldout)) == seen
    corpus = load_corpus(DataSpec(source=str(tmp_path)))
    digest = hashlib.sha256()
    for batch in islice(text_batches(corpus.train, 4, 32, 7), 5):
        digest.update(batch.inputs.tobytes())
        digest.update(batch.targets.tobytes())
    digest.update(windows(corpus.validation, 4, 32, 1).inputs.tobytes())
    assert digest.hexdigest() == "496ac5f6c71db8ab5c73b51e5d744ba74d06f0cf7cb5c72bf7765c8b301b5c88"


def test_the_line_between_memory_and_shards(folder: Path):
    plain = DataSpec(source=str(folder))
    assert in_memory(DataSpec())
    assert in_memory(plain)
    assert in_memory(dataclasses.replace(plain, max_bytes=1 << 28))
    assert not in_memory(dataclasses.replace(plain, max_bytes=(1 << 28) + 1))
    assert not in_memory(dataclasses.replace(plain, max_bytes=None))
    assert not in_memory(dataclasses.replace(plain, tokenizer="bpe", vocab_size=300))
    assert not in_memory(DataSpec(source="hf:some/dataset"))
    (folder / "part0" / "rows.jsonl").write_text("{}")
    assert not in_memory(plain)


def test_a_corpus_in_memory_leaves_nothing_on_disk(folder: Path, tmp_path_factory: pytest.TempPathFactory):
    cache = tmp_path_factory.mktemp("cache")
    load_corpus(DataSpec(source=str(folder), cache=str(cache)))
    assert not list(cache.iterdir())


def test_a_training_that_goes_on_reads_what_it_would_have_read():
    tokens = load_corpus(SMALL).train
    third = list(islice(text_batches(tokens, 4, 32, 5), 3))[2]
    assert np.array_equal(next(text_batches(tokens, 4, 32, 5, start=2)).inputs, third.inputs)


def test_a_text_file_that_cannot_be_read_is_named(folder: Path):
    if not Path("/proc/self/mem").exists():
        pytest.skip("looks for a file that is there and cannot be read in /proc")
    (folder / "broken.txt").symlink_to("/proc/self/mem")
    with pytest.raises(ValueError, match=r"broken.txt cannot be read.*take it out"):
        load_corpus(DataSpec(source=str(folder)))


def test_a_vocabulary_larger_than_the_models_is_refused_with_both():
    stage = load_scale("tiny").stages[0]
    corpus = dataclasses.replace(load_corpus(SMALL), vocab_size=50_257)
    with pytest.raises(ValueError, match=rf"50257 tokens.*vocab_size is {stage.size.vocab_size}: raise it"):
        require_enough(corpus, stage, seed=0)


def test_a_stage_that_the_corpus_cannot_serve_is_named(folder: Path):
    stage = dataclasses.replace(load_scale("tiny").stages[0], eval_windows=10_000)
    with pytest.raises(ValueError, match=rf"stage {stage.name}, {stage.split} data"):
        require_enough(load_corpus(DataSpec(source=str(folder))), stage, seed=0)


@pytest.mark.parametrize(
    ("name", "values", "wanted"),
    [
        ("stdlib", (), DataSpec()),
        ("stdlib", ("tokenizer=bpe", "vocab_size=512"), DataSpec(tokenizer="bpe", vocab_size=512)),
        ("folder", ("data.source=/some/where",), DataSpec(source="/some/where", max_bytes=200_000_000)),
    ],
)
def test_a_spec_is_read_from_conf_with_values_of_ones_own(name: str, values: tuple[str, ...], wanted: DataSpec):
    assert load_spec(name, values) == wanted


def test_fineweb_edu_is_the_documented_default_for_gpus():
    spec = load_spec("fineweb_edu")
    assert (spec.source, spec.config, spec.tokenizer) == ("hf:HuggingFaceFW/fineweb-edu", "sample-10BT", "gpt2")


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("nope", (), "fineweb_edu, folder, stdlib"),
        ("folder", (), "data.source has no value"),
        ("stdlib", ("max_bytes",), "no key=value"),
        ("stdlib", ("colour=red",), "unknown key data.colour"),
        ("stdlib", ("max_tokens=1e9",), "'1e9': a whole number or null"),
        ("stdlib", ("seed=true",), "True: a whole number"),
    ],
)
def test_values_that_are_no_spec_are_refused(name: str, values: tuple[str, ...], message: str):
    with pytest.raises(ValueError, match=message):
        load_spec(name, values)
