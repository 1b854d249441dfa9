from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.data import DataSpec, PackedTokens, load_corpus, pack
from models.data.groups import split_of
from models.data.index import SPLIT_NAMES, read_index, verify
from models.data.packing import Pack
from models.data.parts import MAX_PARTS, part_tokens

ROOT = Path(__file__).resolve().parents[3]
PART = 1 << 19  # tokens of a part in these tests


def sentences(num: int, size: int = 200) -> list[str]:
    rng = np.random.default_rng(0)
    words = np.array(["state", "decay", "gate", "memory", "chunk", "head", "key", "value"])
    return [f"<{number}> {' '.join(rng.choice(words, size=size // 6))}." for number in range(num)]


def jsonl(path: Path, texts: list[str]) -> str:
    path.write_text("".join(f"{json.dumps({'text': text})}\n" for text in texts))
    return str(path)


@pytest.fixture
def small(tmp_path: Path) -> DataSpec:
    source = jsonl(tmp_path / "rows.jsonl", sentences(400))
    return DataSpec(source=source, cache=str(tmp_path / "cache"), tokenizer="bpe", vocab_size=300)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> DataSpec:
    """More than eight groups, so that processes start."""
    folder = tmp_path_factory.mktemp("large")
    return DataSpec(source=jsonl(folder / "rows.jsonl", sentences(1_500, 8_000)), cache=str(folder), max_bytes=None)


@pytest.fixture(scope="module")
def unbroken(large: DataSpec) -> Pack:
    return pack(large, part_size=lambda _: PART)


def tokens_of(found: Pack, split: str) -> np.ndarray:
    return np.concatenate([np.fromfile(path, found.index.dtype) for path in found.index.paths(found.folder, split)])


def texts_of(found: Pack, split: str) -> list[str]:
    from tokenizers import Tokenizer

    tokens = tokens_of(found, split)
    ends = np.flatnonzero(tokens == found.index.end_of_document)
    decoder = Tokenizer.from_file(str(found.folder / "tokenizer.json"))
    return [decoder.decode(part.tolist()) for part in np.split(tokens, ends + 1) if len(part)]


def test_every_document_is_in_one_split_and_comes_back(small: DataSpec):
    found = pack(small)
    by_split = {name: texts_of(found, name) for name in SPLIT_NAMES}
    assert sorted(text for texts in by_split.values() for text in texts) == sorted(sentences(400))
    for place, name in enumerate(SPLIT_NAMES):
        assert by_split[name]
        assert {split_of(text.encode(), small) for text in by_split[name]} == {place}
        assert found.index.amounts[name].documents == len(by_split[name])
        assert found.index.amounts[name].tokens == len(tokens_of(found, name))
    assert found.index.total.text_bytes == sum(len(text.encode()) for text in sentences(400))


def test_a_document_that_is_there_twice_is_in_one_split(tmp_path: Path, small: DataSpec):
    texts = sentences(300)
    source = jsonl(tmp_path / "twice.jsonl", texts + texts[::-1])
    found = pack(dataclasses.replace(small, source=source))
    sets = [set(texts_of(found, name)) for name in SPLIT_NAMES]
    assert sum(map(len, sets)) == len(set.union(*sets)) == 300


def test_splits_do_not_depend_on_the_order_of_documents(tmp_path: Path, small: DataSpec):
    found = pack(small)
    turned = pack(dataclasses.replace(small, source=jsonl(tmp_path / "turned.jsonl", sentences(400)[::-1])))
    for name in SPLIT_NAMES:
        assert sorted(texts_of(found, name)) == sorted(texts_of(turned, name))


def test_the_tokenizer_learns_from_the_training_split_alone(tmp_path: Path, small: DataSpec):
    texts = sentences(400)
    held = [text for text in texts if split_of(text.encode(), small) != SPLIT_NAMES.index("train")]
    marked = [text.replace("state", "QZQZQZ") if text in held else text for text in texts]
    still_held = [text for text in marked if "QZ" in text and split_of(text.encode(), small) != 0]
    kept = [text for text in marked if "QZ" not in text] + still_held
    assert still_held
    found = pack(dataclasses.replace(small, source=jsonl(tmp_path / "marked.jsonl", kept)))
    assert "QZ" not in json.loads((found.folder / "tokenizer.json").read_text())["model"]["vocab"]


def test_the_share_held_out_is_what_was_asked_for(large: DataSpec):
    spec = dataclasses.replace(large, held_share=0.25)
    places = [split_of(str(number).encode(), spec) for number in range(4_000)]
    assert [places.count(place) / 4_000 for place in range(3)] == pytest.approx([0.5, 0.25, 0.25], abs=0.03)


def test_a_pack_is_made_once(small: DataSpec):
    told: list[str] = []
    found = pack(small, tell=told.append)
    assert told
    assert not list(found.folder.glob("part-*"))
    before = {path: path.stat().st_mtime_ns for path in found.folder.iterdir()}
    told.clear()
    assert pack(small, tell=told.append).index == found.index
    assert {path: path.stat().st_mtime_ns for path in found.folder.iterdir()} == before
    assert not told


def test_changed_values_and_sources_are_another_pack(small: DataSpec):
    folders = {pack(small).folder}
    for values in ({"seed": 1}, {"max_bytes": 60_000}, {"max_tokens": 20_000}, {"vocab_size": 280}):
        folders.add(pack(dataclasses.replace(small, **values)).folder)  # type: ignore[arg-type]
    jsonl(Path(small.source), sentences(401))
    folders.add(pack(small).folder)
    assert len(folders) == 6


def test_caps_are_kept_to_the_token_and_to_the_byte(small: DataSpec):
    assert pack(dataclasses.replace(small, max_tokens=12_345)).index.total.tokens == 12_345
    assert pack(dataclasses.replace(small, max_bytes=54_321)).index.total.text_bytes == 54_321


def test_shards_of_a_corpus_are_read_as_one(large: DataSpec, unbroken: Pack):
    corpus = load_corpus(large)
    assert isinstance(corpus.train, PackedTokens)
    assert len(corpus.train.counts) > 8
    whole = tokens_of(unbroken, "train")
    for start in (0, PART - 50, len(whole) - 100):
        assert np.array_equal(corpus.train.spans(np.array([start]), 100)[0], whole[start : start + 100])
    assert corpus.digest == unbroken.index.digest


def test_a_child_is_lent_files_of_the_training_split_alone(large: DataSpec, unbroken: Pack):
    corpus = load_corpus(large)
    assert isinstance(corpus.train, PackedTokens)
    with corpus.train.lent() as fds:
        lent = [
            os.path.samestat(os.fstat(fd), path.stat())
            for fd, path in zip(fds, unbroken.index.paths(unbroken.folder, "train"), strict=True)
        ]
        assert all(lent)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(fds[0], b"x")


def test_lent_files_get_back_a_mode_that_a_child_has_changed(large: DataSpec, unbroken: Pack):
    corpus = load_corpus(large)
    (path, *_) = unbroken.index.paths(unbroken.folder, "train")
    assert isinstance(corpus.train, PackedTokens)
    with corpus.train.lent() as fds:
        os.fchmod(fds[0], 0)
        assert path.stat().st_mode & 0o777 == 0
    assert path.stat().st_mode & 0o777 == 0o444


def test_processes_side_by_side_pack_the_same(tmp_path: Path, large: DataSpec, unbroken: Pack):
    spec = dataclasses.replace(large, cache=str(tmp_path))
    assert pack(spec, processes=2, part_size=lambda _: PART).index == unbroken.index


def test_a_killed_pack_goes_on_and_keeps_what_was_finished(tmp_path: Path, large: DataSpec, unbroken: Pack):
    spec = dataclasses.replace(large, cache=str(tmp_path))
    code = (
        "import os, signal\n"
        "from models.data import DataSpec, pack\n"
        "def part_size(number):\n"
        "    if number == 3: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"    return {PART}\n"
        f"pack({spec!r}, part_size=part_size)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == -signal.SIGKILL
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    assert not (folder / "index.json").exists()
    assert list(folder.glob("*.partial"))
    done = {path.name: path.stat().st_ino for path in folder.glob("*.bin")}
    assert {name for name in done if name.startswith("train")} == {f"train-{number:05d}.bin" for number in range(3)}
    (folder / "heldout-00099.bin.partial").touch()
    told: list[str] = []
    found = pack(spec, part_size=lambda _: PART, tell=told.append)
    assert "3 finished parts" in told[0]
    assert found.index == unbroken.index
    assert {name: (folder / name).stat().st_ino for name in done} == done
    assert not list(folder.glob("*.partial"))
    verify(folder, found.index, whole=True)


def test_two_who_pack_at_once_do_it_once(small: DataSpec):
    code = f"from models.data import DataSpec, pack; pack({small!r}, tell=print)"
    both = [
        subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    told = "".join(process.communicate()[0] for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert told.count("trained a BPE") == 1


@pytest.mark.parametrize("num", [0, 1, 10])
def test_too_few_documents_are_refused_with_a_remedy(tmp_path: Path, small: DataSpec, num: int):
    spec = dataclasses.replace(small, source=jsonl(tmp_path / "few.jsonl", sentences(num)))
    with pytest.raises(ValueError, match=rf"gives {num} documents.*about 100 or more; add documents"):
        pack(spec)
    assert not [path for path in Path(str(small.cache)).iterdir() if path.is_dir()]


def spoil(path: Path, how: str) -> None:
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    if how == "gone":
        path.unlink()
        return
    if how == "head":
        content[0] ^= 1
    elif how == "middle":
        content[len(content) // 2] ^= 1
    path.write_bytes({"empty": b"", "short": bytes(content[:-2])}.get(how, bytes(content)))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("gone", "cannot be read"),
        ("empty", "is empty, .* are due"),
        ("short", "bytes, .* are due"),
        ("head", "hash mismatch"),
    ],
)
def test_shards_that_changed_are_named_with_a_remedy(small: DataSpec, how: str, message: str):
    found = pack(small)
    spoil(found.folder / "train-00000.bin", how)
    with pytest.raises(ValueError, match=rf"train-00000.bin.*{message}.*delete {re.escape(str(found.folder))}"):
        load_corpus(small)


def test_a_change_between_the_ends_is_found_by_the_whole_hash(large: DataSpec, tmp_path: Path):
    found = pack(dataclasses.replace(large, cache=str(tmp_path)))
    verify(found.folder, found.index, whole=True)
    spoil(found.folder / "train-00000.bin", "middle")
    verify(found.folder, found.index)
    with pytest.raises(ValueError, match=r"train-00000.bin.*hash mismatch"):
        verify(found.folder, found.index, whole=True)


@pytest.mark.parametrize(("old", "new"), [('"tokens": ', '"tokens": 1'), ('"format": 1', '"format": 9'), ("{", "")])
def test_a_changed_index_is_refused(small: DataSpec, old: str, new: str):
    path = pack(small).folder / "index.json"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ValueError, match=r"index.json.*delete .* and pack again"):
        read_index(path.parent)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, small: DataSpec):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"cannot be written.*data.cache=FOLDER"):
        pack(dataclasses.replace(small, cache=str(tmp_path / "file")))


def test_packs_lie_in_the_users_cache_unless_told_otherwise(
    small: DataSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert pack(dataclasses.replace(small, cache=None)).folder.is_relative_to(tmp_path / "xdg")


def test_the_standard_library_takes_a_bpe(tmp_path: Path):
    corpus = load_corpus(DataSpec(tokenizer="bpe", vocab_size=512, max_bytes=500_000, cache=str(tmp_path)))
    assert corpus.vocab_size == 512
    assert len(corpus.train) < 300_000


def test_parts_grow_so_that_a_child_can_be_lent_all_of_them():
    assert part_tokens(0) == part_tokens(31) == 1 << 28
    assert sum(map(part_tokens, range(MAX_PARTS))) > 60_000_000_000
    with pytest.raises(ValueError, match=r"set data\.max_tokens"):
        part_tokens(MAX_PARTS)


def test_folders_that_look_alike_from_outside_are_packed_apart(tmp_path: Path):
    digests = set()
    for letter in "az":
        folder = tmp_path / letter / ("same_" + "e" * 60)  # longer than what a pack's name keeps of it
        folder.mkdir(parents=True)
        for number in range(100):
            file = folder / f"{number}.txt"
            file.write_text(letter * (20 + number))
            os.utime(file, (0, 0))
        spec = DataSpec(source=str(folder), tokenizer="bpe", vocab_size=257, cache=str(tmp_path / "cache"))
        digests.add(pack(spec).index.digest)
    assert len(digests) == 2
