"""Parts of a pack under way: a stretch of documents, its tokens in one shard per split, and where the source goes on.

A part is complete when its record is there, which is written last. What a kill leaves of an incomplete one is removed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from models.data.index import SPLIT_NAMES, TOKENIZER, Amount, Shard, ends_sha256, write_json
from models.data.sources import Position
from models.data.tokens import READ_ONLY, TokenArray

MAX_PARTS = 63
"""As many files can be lent to a child of the sandbox."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The record of a complete part."""

    number: int
    amounts: Mapping[str, Amount]
    shards: tuple[Shard, ...]
    num_replaced: int
    position: Position  # of the source, after the last document

    @property
    def total(self) -> Amount:
        return sum(self.amounts.values(), Amount())


def part_tokens(number: int) -> int:
    """Tokens after which part `number` is full: 2^28, doubled every eighth part from number 32 on.

    Raises:
        ValueError: beyond MAX_PARTS, which come to 68 billion tokens.
    """
    if number >= MAX_PARTS:
        raise ValueError(f"the source fills more than {MAX_PARTS} parts: set data.max_tokens to 60000000000 or less")
    return 1 << (28 + max(0, (number - 24) // 8))


def finished_parts(folder: Path) -> list[Part]:
    """The complete parts in their order, up to the first gap; removes what is left of all others."""
    parts: list[Part] = []
    while (path := folder / _record_name(len(parts))).is_file():
        values = json.loads(path.read_text(encoding="utf-8"))
        values["amounts"] = {name: Amount(**amount) for name, amount in values["amounts"].items()}
        values["shards"] = tuple(Shard(**shard) for shard in values["shards"])
        parts.append(Part(**values))
    kept = {TOKENIZER, *(_record_name(part.number) for part in parts)}
    kept.update(shard.file for part in parts for shard in part.shards)
    for path in folder.iterdir():
        if path.name not in kept:
            path.unlink()
    return parts


def remove_records(folder: Path, parts: list[Part]) -> None:
    """Take the records away once an index says what they say."""
    for part in parts:
        (folder / _record_name(part.number)).unlink()


class PartWriter:
    """A part under way. `add` documents, then `close`; without that nothing of it counts."""

    def __init__(self, folder: Path, number: int, dtype: str) -> None:
        self._folder = folder
        self._number = number
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self._amounts = dict.fromkeys(SPLIT_NAMES, Amount())
        self._files: dict[str, BinaryIO] = {}
        self._digests: dict[str, Any] = {}
        self._num_replaced = 0

    @property
    def total(self) -> Amount:
        return sum(self._amounts.values(), Amount())

    def add(self, split: str, tokens: TokenArray, amount: Amount) -> None:
        """Append the tokens of some documents."""
        if split not in self._files:
            self._files[split] = (self._folder / f"{self._shard_name(split)}.partial").open("wb")
            self._digests[split] = hashlib.sha256()
        data = np.ascontiguousarray(tokens, dtype=self._dtype).data
        self._files[split].write(data)
        self._digests[split].update(data)
        self._amounts[split] += amount

    def count_replaced(self, num: int) -> None:
        self._num_replaced += num

    def close(self, position: Position) -> Part:
        """Make the part count; `position` is where the source goes on."""
        shards = tuple(self._close(split) for split in SPLIT_NAMES if split in self._files)
        part = Part(
            number=self._number,
            amounts=self._amounts,
            shards=shards,
            num_replaced=self._num_replaced,
            position=position,
        )
        write_json(self._folder / _record_name(self._number), asdict(part))
        return part

    def abandon(self) -> None:
        """Close the files of a part that will not be completed."""
        for file in self._files.values():
            file.close()

    def _close(self, split: str) -> Shard:
        file, path = self._files[split], self._folder / self._shard_name(split)
        file.flush()
        os.fsync(file.fileno())
        file.close()
        Path(file.name).rename(path)
        path.chmod(READ_ONLY)
        return Shard(
            file=path.name,
            split=split,
            tokens=self._amounts[split].tokens,
            sha256=self._digests[split].hexdigest(),
            ends_sha256=ends_sha256(path),
        )

    def _shard_name(self, split: str) -> str:
        return f"{split}-{self._number:05d}.bin"


def _record_name(number: int) -> str:
    return f"part-{number:05d}.json"
