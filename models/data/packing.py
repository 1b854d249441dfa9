"""Pack a source once: documents, their splits, their tokens, shards on disk; a pack that was killed goes on.

Documents go through in the source's order. The same source and spec give the
same shards, whatever the number of processes and however often the work was broken off.

Shapes: D documents of a group.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from models.data.groups import Group, encoded, grouped, training_texts
from models.data.index import FORMAT, INDEX, SPLIT_NAMES, TOKENIZER, Amount, Index, read_index, write_index, write_whole
from models.data.parts import Part, PartWriter, finished_parts, part_tokens, remove_records
from models.data.sources import Position, fingerprint
from models.data.spec import DataSpec
from models.data.tokenization import BPE_TRAINING_BYTES, Encoded, Tokenizer, identity, loaded, ready, train_bpe

Tell = Callable[[str], None]

_TELL_EVERY_S = 10.0
_FOLDER = "architecture-research-orchestrator"
_NO_PART_OF_IT = ("source", "cache")  # of the spec: the first is in the fingerprint, the second moves

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """A packed corpus: its folder and what lies there."""

    folder: Path
    index: Index


def pack(
    spec: DataSpec, *, processes: int = 1, tell: Tell = _logger.info, part_size: Callable[[int], int] = part_tokens
) -> Pack:
    """The packed corpus, from the cache where it is complete, else packed now; one process packs, others wait.

    With one process the tokeniser's own threads use the cores; more (started by spawn: the calling script needs its
    `if __name__ == "__main__"`) pay for large sources. `part_size` gives the tokens of part k.

    Raises:
        ValueError: what the user has to mend: the source, the tokeniser, too few documents, a folder not writable.
    """
    folder = cache_folder(spec) / _name(spec)
    if not (folder / INDEX).is_file():
        try:
            with _alone(folder, tell):
                if not (folder / INDEX).is_file():
                    _pack(spec, folder, processes, tell, part_size)
        except OSError as error:
            raise ValueError(f"{folder} cannot be written ({error}): make room, or set data.cache=FOLDER") from error
    return Pack(folder=folder, index=read_index(folder))


def cache_folder(spec: DataSpec) -> Path:
    """Where packs lie: `spec.cache`, else under $XDG_CACHE_HOME or ~/.cache."""
    if spec.cache:
        return Path(spec.cache).expanduser()
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / _FOLDER / "data"


def _name(spec: DataSpec) -> str:
    told = {name: value for name, value in asdict(spec).items() if name not in _NO_PART_OF_IT}
    told |= {"source": fingerprint(spec), "tokenizer": identity(spec), "format": FORMAT}
    key = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]
    slug = re.sub(r"[^A-Za-z0-9]+", "-", spec.source)[-40:].strip("-")
    return f"{slug}-{spec.tokenizer}-{key}"


def _pack(spec: DataSpec, folder: Path, processes: int, tell: Tell, part_size: Callable[[int], int]) -> None:
    tokenizer = _tokenizer(spec, folder, tell)
    parts = finished_parts(folder)
    total = sum((part.total for part in parts), Amount())
    if parts:
        tell(f"{folder} holds {len(parts)} finished parts with {total.tokens:,} tokens: going on from there")
    groups = grouped(spec, parts[-1].position if parts else None, total.text_bytes)
    progress = _Progress(tell, spec, total.tokens)
    writer: PartWriter | None = None
    position: Position = None
    stream = encoded(groups, tokenizer, processes)
    try:
        for group, found in stream:
            left = None if spec.max_tokens is None else spec.max_tokens - total.tokens
            if left == 0:
                break
            writer = writer or PartWriter(folder, len(parts), tokenizer.dtype)
            total += _write(writer, group, found, left)
            position = group.position
            if writer.total.tokens >= part_size(len(parts)):
                parts.append(writer.close(position))
                writer = None
            progress.tell(total, len(parts))
        if writer is not None:
            parts.append(writer.close(position))
            writer = None
    finally:
        stream.close()
        if writer is not None:
            writer.abandon()
    index = _index(spec, tokenizer, parts)
    if empty := [name for name in SPLIT_NAMES if index.amounts[name].tokens == 0]:
        shutil.rmtree(folder)
        raise ValueError(
            f"data.source {spec.source!r} gives {total.documents} documents within its caps, and none of them falls "
            f"into {' or '.join(empty)}: splitting by document takes about {round(5 / spec.held_share)} or more; add "
            "documents, raise data.max_bytes or data.max_tokens, raise data.held_share, or cut large files "
            "('split -n l/100 FILE')"
        )
    write_index(folder, index)
    remove_records(folder, parts)
    progress.tell(total, len(parts), now=True)


def _tokenizer(spec: DataSpec, folder: Path, tell: Tell) -> Tokenizer:
    """The tokeniser, with its definition beside the shards; a BPE is trained once, on training documents."""
    path = folder / TOKENIZER
    if path.is_file():
        return loaded(spec.tokenizer, path.read_text(encoding="utf-8"), str(path))
    tokenizer = ready(spec)
    if tokenizer is None:
        assert spec.vocab_size is not None
        began = time.monotonic()
        tokenizer = train_bpe(training_texts(spec, BPE_TRAINING_BYTES), spec.vocab_size)
        tell(f"trained a BPE of {tokenizer.vocab_size:,} tokens in {time.monotonic() - began:.1f} s")
    if tokenizer.definition is not None:
        write_whole(path, [tokenizer.definition.encode()])
    return tokenizer


def _write(writer: PartWriter, group: Group, found: Encoded, left: int | None) -> Amount:
    """Write a group's tokens split by split, at most `left` of them; the last document is cut short."""
    lengths_D = found.lengths_D
    if left is not None:
        before_D = np.cumsum(lengths_D) - lengths_D
        lengths_D = np.clip(left - before_D, 0, lengths_D)
    num = int(np.count_nonzero(lengths_D))
    tokens, splits = found.tokens[: lengths_D.sum()], np.repeat(group.splits_D, lengths_D)
    sizes_D = np.array([len(text) for text in group.texts])
    written = Amount()
    for place, split in enumerate(SPLIT_NAMES):
        of_split_D = (group.splits_D == place) & (lengths_D > 0)
        if of_split_D.any():
            chosen = tokens[splits == place]
            amount = Amount(
                documents=int(of_split_D.sum()), tokens=len(chosen), text_bytes=int(sizes_D[of_split_D].sum())
            )
            writer.add(split, chosen, amount)
            written += amount
    writer.count_replaced(found.num_replaced if num else 0)
    return written


def _index(spec: DataSpec, tokenizer: Tokenizer, parts: list[Part]) -> Index:
    return Index(
        format=FORMAT,
        source=spec.source,
        tokenizer=tokenizer.name,
        tokenizer_sha256=tokenizer.digest,
        vocab_size=tokenizer.vocab_size,
        end_of_document=tokenizer.end_of_document,
        dtype=tokenizer.dtype,
        amounts={name: sum((part.amounts[name] for part in parts), Amount()) for name in SPLIT_NAMES},
        shards=tuple(shard for part in parts for shard in part.shards),
        num_replaced=sum(part.num_replaced for part in parts),
    )


class _Progress:
    """A line every few seconds."""

    def __init__(self, tell: Tell, spec: DataSpec, tokens_before: int) -> None:
        self._tell = tell
        self._began = self._told = time.monotonic()
        self._spec = spec
        self._before = tokens_before

    def tell(self, total: Amount, num_parts: int, *, now: bool = False) -> None:
        since = time.monotonic()
        if not now and since - self._told < _TELL_EVERY_S:
            return
        self._told = since
        rate = (total.tokens - self._before) / max(1e-9, since - self._began)
        of = f" of at most {self._spec.max_tokens:,}" if self._spec.max_tokens else ""
        self._tell(
            f"packed {total.documents:,} documents, {total.tokens:,} tokens{of}, {num_parts} parts finished, "
            f"{rate:,.0f} tokens/s"
        )


@contextmanager
def _alone(folder: Path, tell: Tell) -> Iterator[None]:
    """Be the one process that packs into the folder; wait for another that does."""
    folder.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell(f"another process packs into {folder}: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        folder.mkdir(exist_ok=True)
        yield
