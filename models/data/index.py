"""The record of a packed corpus: its shards, what each holds, and how to tell that they still hold it.

A pack is a folder: `index.json`, a `tokenizer.json` where there is one, and shards `SPLIT-NUMBER.bin` of token ids,
little-endian, without a header. No shard holds tokens of two splits, so that a child can be lent one split alone.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

INDEX, TOKENIZER = "index.json", "tokenizer.json"
FORMAT = 1
SPLIT_NAMES = ("train", "validation", "heldout")

_END_BYTES = 1 << 16  # read of either end of a shard when a corpus is loaded


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """One file of token ids."""

    file: str
    split: str
    tokens: int
    sha256: str
    ends_sha256: str  # of its first and last 64 KiB


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """How much of a split there is, or of a part of it."""

    documents: int = 0
    tokens: int = 0
    text_bytes: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(
            documents=self.documents + other.documents,
            tokens=self.tokens + other.tokens,
            text_bytes=self.text_bytes + other.text_bytes,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """What a pack holds. `digest` is over shards, tokeniser and number format: the identity of the corpus."""

    format: int
    source: str
    tokenizer: str
    tokenizer_sha256: str
    vocab_size: int
    end_of_document: int | None
    dtype: str
    amounts: Mapping[str, Amount]
    shards: tuple[Shard, ...]
    num_replaced: int  # documents with bytes that are no UTF-8

    @property
    def digest(self) -> str:
        told = [self.format, self.tokenizer_sha256, self.dtype, [(s.file, s.tokens, s.sha256) for s in self.shards]]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()

    @property
    def total(self) -> Amount:
        return sum(self.amounts.values(), Amount())

    def paths(self, folder: Path, split: str) -> list[Path]:
        return [folder / shard.file for shard in self.shards if shard.split == split]


def write_index(folder: Path, index: Index) -> None:
    """Write it whole or not at all."""
    write_json(folder / INDEX, {**asdict(index), "digest": index.digest})


def read_index(folder: Path) -> Index:
    """The index of a pack. Raises ValueError when it cannot be read or its digest is not that of its entries."""
    path = folder / INDEX
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        digest = values.pop("digest")
        if values["format"] != FORMAT:
            raise ValueError(f"format {values['format']}, this version reads {FORMAT}")
        values["amounts"] = {name: Amount(**amount) for name, amount in values["amounts"].items()}
        values["shards"] = tuple(Shard(**shard) for shard in values["shards"])
        index = Index(**values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} cannot be used ({error}): {_remedy(folder)}") from error
    if index.digest != digest:
        raise ValueError(f"{path} was changed: its digest is not that of its entries: {_remedy(folder)}")
    return index


def verify(folder: Path, index: Index, *, whole: bool = False) -> None:
    """Check that every shard is there, has its size, and holds what was written: at both ends, or the whole of it.

    Raises:
        ValueError: naming the first file that does not.
    """
    for shard in index.shards:
        path = folder / shard.file
        due = shard.tokens * np.dtype(index.dtype).itemsize
        try:
            size = path.stat().st_size
            if size != due:
                what = "is empty" if size == 0 else f"has {size} bytes"
                raise ValueError(f"{path} {what}, {due} are due: {_remedy(folder)}")
            found, expected = (sha256_of(path), shard.sha256) if whole else (ends_sha256(path), shard.ends_sha256)
        except OSError as error:
            raise ValueError(f"{path} cannot be read ({error.strerror}): {_remedy(folder)}") from error
        if found != expected:
            raise ValueError(f"{path} does not hold what was packed (hash mismatch): {_remedy(folder)}")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def ends_sha256(path: Path) -> str:
    """SHA-256 of a file's first and last 64 KiB."""
    with path.open("rb") as file:
        digest = hashlib.sha256(file.read(_END_BYTES))
        file.seek(max(0, os.fstat(file.fileno()).st_size - _END_BYTES))
        digest.update(file.read(_END_BYTES))
    return digest.hexdigest()


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all."""
    write_whole(path, [json.dumps(values, indent=1).encode()])


def write_whole(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a file whole or not at all, under another name first."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        file.writelines(pieces)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)


def _remedy(folder: Path) -> str:
    return f"delete {folder} and pack again"
