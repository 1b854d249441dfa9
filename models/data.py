"""Text for training and evaluation: bytes of the standard library's own source, or of a folder. No torch.

Shapes: B batch, T time, N windows.
"""

from __future__ import annotations

import hashlib
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.scale import Stage

STDLIB = "stdlib"
TOKENIZERS = ("bytes",)
_FOLDER_SUFFIXES = frozenset({".txt", ".md", ".py", ".jsonl"})
_SKIPPED_FOLDERS = frozenset({"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"})
_HELD_SHARE = 0.05  # of the files, each for validation and heldout
_MIN_FILES = 3

Tokens = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSpec:
    """Where text comes from. `seed` decides which files a cap keeps and which split each falls into."""

    source: str = STDLIB  # "stdlib" or a folder
    tokenizer: str = "bytes"
    max_bytes: int = 4_000_000  # over all splits
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.source:
            raise ValueError("data.source is empty; give 'stdlib' or a folder")
        if self.tokenizer not in TOKENIZERS:
            raise ValueError(f"data.tokenizer is {self.tokenizer!r}; use one of {', '.join(TOKENIZERS)}")
        if self.max_bytes < 1:
            raise ValueError(f"data.max_bytes is {self.max_bytes}; give a number of bytes above 0")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Corpus:
    """Three splits that share no file. The arrays are read-only."""

    train: Tokens
    validation: Tokens
    heldout: Tokens
    vocab_size: int
    digest: str  # SHA-256 over names, splits and contents

    def split(self, name: str) -> Tokens:
        splits = {"train": self.train, "validation": self.validation, "heldout": self.heldout}
        if name not in splits:
            raise ValueError(f"a corpus has no split {name!r}; use one of {', '.join(splits)}")
        return splits[name]


class Batch(NamedTuple):
    """Token ids and the ids that follow them, int64 [B, T]; -100 marks targets that do not count."""

    inputs: NDArray[np.int64]  # [B, T]
    targets: NDArray[np.int64]  # [B, T]


@lru_cache(maxsize=4)
def load_corpus(spec: DataSpec) -> Corpus:
    """Read, cap and split a corpus; the same files and spec give the same arrays and digest.

    Files are ranked by a hash of their relative path: 5% go to validation, 5% to heldout (one at least), the rest to
    train. A cap keeps files in another hashed order, so that it is a fair sample, and cuts the last one short.

    Raises:
        ValueError: the folder is missing, holds fewer than three text files, or a split comes out empty.
    """
    root = _root(spec)
    contents = _capped(root, _paths(root, spec.source == STDLIB), spec)
    if len(contents) < _MIN_FILES:
        raise ValueError(
            f"{root} gives {len(contents)} text files within max_bytes {spec.max_bytes}; splitting by file takes at "
            f"least {_MIN_FILES}, better 100: add files, raise the cap, or cut a large one ('split -n l/100 FILE')"
        )
    order = sorted(contents, key=lambda name: _rank("split", name, spec.seed))
    num_held = max(1, round(len(order) * _HELD_SHARE))
    names = {
        "validation": sorted(order[:num_held]),
        "heldout": sorted(order[num_held : 2 * num_held]),
        "train": sorted(order[2 * num_held :]),
    }
    digest = hashlib.sha256()
    arrays: dict[str, Tokens] = {}
    for split in sorted(names):
        for name in names[split]:
            digest.update(f"{split}\0{name}\0{len(contents[name])}\0".encode())
            digest.update(contents[name])
        arrays[split] = np.frombuffer(b"".join(contents[name] for name in names[split]), dtype=np.uint8)
    return Corpus(**arrays, vocab_size=256, digest=digest.hexdigest())


def text_batches(tokens: Tokens, batch_size: int, length: int, seed: int) -> Iterator[Batch]:
    """Endless batches of random windows; the order depends on `seed` and the tokens alone, never on a candidate."""
    _require_tokens(tokens, length + 1)
    return _text_batches(tokens, batch_size, length, seed)


def windows(tokens: Tokens, num: int, length: int, seed: int) -> Batch:
    """`num` different windows that do not overlap, in the order of the text.

    Raises:
        ValueError: the split holds fewer such windows.
    """
    _require_tokens(tokens, num * length + 1)
    available = (len(tokens) - 1) // length
    chosen = np.sort(np.random.default_rng(seed).choice(available, size=num, replace=False))
    return _cut(tokens, chosen * length, length)


def require_enough(corpus: Corpus, stage: Stage, seed: int) -> None:
    """Check before anything is trained that a corpus can serve a stage.

    Raises:
        ValueError: a split is too small for the stage's windows.
    """
    for split in ("train", stage.split):
        try:
            if split == "train":
                text_batches(corpus.train, stage.batch_size, stage.length, seed)
            else:
                windows(corpus.split(split), stage.eval_windows, stage.length, seed)
        except ValueError as error:
            raise ValueError(f"stage {stage.name}, {split} data: {error}") from error


def _text_batches(tokens: Tokens, batch_size: int, length: int, seed: int) -> Iterator[Batch]:
    rng = np.random.default_rng(seed)
    while True:
        yield _cut(tokens, rng.integers(0, len(tokens) - length, size=batch_size), length)


def _cut(tokens: Tokens, starts: NDArray[np.int64], length: int) -> Batch:
    spans = tokens[starts[:, None] + np.arange(length + 1)].astype(np.int64)
    return Batch(np.ascontiguousarray(spans[:, :-1]), np.ascontiguousarray(spans[:, 1:]))


def _require_tokens(tokens: Tokens, needed: int) -> None:
    if len(tokens) < needed:
        raise ValueError(
            f"the split has {len(tokens)} tokens, {needed} are needed: use a larger corpus, raise data.max_bytes, or "
            "lower length or eval_windows"
        )


def _root(spec: DataSpec) -> Path:
    root = Path(sysconfig.get_path("stdlib")) if spec.source == STDLIB else Path(spec.source).expanduser()
    if not root.is_dir():
        raise ValueError(f"data.source {spec.source!r} is no folder ({root}); give an existing one or 'stdlib'")
    return root


def _paths(root: Path, is_stdlib: bool) -> list[Path]:
    if not is_stdlib:
        return [path for path in root.rglob("*") if path.suffix in _FOLDER_SUFFIXES and path.is_file()]
    return [path for path in root.rglob("*.py") if not _SKIPPED_FOLDERS.intersection(path.relative_to(root).parts)]


def _capped(root: Path, paths: list[Path], spec: DataSpec) -> dict[str, bytes]:
    named = {path.relative_to(root).as_posix(): path for path in paths}
    contents: dict[str, bytes] = {}
    left = spec.max_bytes
    for name in sorted(named, key=lambda name: _rank("cap", name, spec.seed)):
        if text := named[name].read_bytes()[:left]:
            contents[name] = text
            left -= len(text)
        if left == 0:
            break
    return contents


def _rank(purpose: str, name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{purpose}/{seed}/{name}".encode()).digest()
