"""Documents on their way into shards: each with its split, in groups of about a mebibyte, tokenised side by side.

Shapes: D documents of a group.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from multiprocessing import connection, get_context, parent_process

import numpy as np
from numpy.typing import NDArray

from models.data.index import SPLIT_NAMES
from models.data.sources import Position, open_documents
from models.data.spec import DataSpec
from models.data.tokenization import Encoded, Tokenizer

_GROUP_BYTES = 1 << 20
_GROUPS_WITHOUT_PROCESSES = 8  # a small corpus is done before processes have started


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Group:
    """Some documents, one after the other."""

    texts: list[bytes]
    splits_D: NDArray[np.uint8]  # places in SPLIT_NAMES
    position: Position  # of the source, after the last of them


Encodings = Generator[tuple[Group, Encoded], None, None]


def split_of(text: bytes, spec: DataSpec) -> int:
    """The place in SPLIT_NAMES of a document, by its content alone: what is there twice is in one split twice."""
    digest = hashlib.blake2b(text, digest_size=8, key=f"split/{spec.seed}".encode()).digest()
    drawn = int.from_bytes(digest, "big") / (1 << 64)
    if drawn < spec.held_share:
        return SPLIT_NAMES.index("validation")
    return SPLIT_NAMES.index("heldout" if drawn < 2 * spec.held_share else "train")


def grouped(spec: DataSpec, position: Position = None, num_bytes: int = 0) -> Iterator[Group]:
    """Documents from `position` on, before which `num_bytes` were read; the last is cut short at the cap on bytes."""
    documents = open_documents(spec, position)
    texts: list[bytes] = []
    splits: list[int] = []
    size = 0
    while spec.max_bytes is None or num_bytes < spec.max_bytes:
        text = next(documents, None)
        if text is None:
            break
        splits.append(split_of(text, spec))  # of the whole: a piece of a document stays in its split
        texts.append(text if spec.max_bytes is None else text[: spec.max_bytes - num_bytes])
        num_bytes, size = num_bytes + len(texts[-1]), size + len(texts[-1])
        if size >= _GROUP_BYTES:
            yield Group(texts=texts, splits_D=np.array(splits, np.uint8), position=documents.position())
            texts, splits, size = [], [], 0
    if texts:
        yield Group(texts=texts, splits_D=np.array(splits, np.uint8), position=documents.position())


def training_texts(spec: DataSpec, max_bytes: int) -> Iterator[bytes]:
    """The first documents of the training split, up to so many bytes."""
    left, train = max_bytes, SPLIT_NAMES.index("train")
    for group in grouped(spec):
        for text, split in zip(group.texts, group.splits_D.tolist(), strict=True):
            if split == train and left > 0:
                yield text[:left]
                left -= len(text)
        if left <= 0:
            return


def encoded(groups: Iterator[Group], tokenizer: Tokenizer, processes: int) -> Encodings:
    """Each group with its tokens, in order; processes are started once the source has shown to be large.

    Raises:
        ValueError: one of the processes died.
    """
    for group in islice(groups, None if processes <= 1 else _GROUPS_WITHOUT_PROCESSES):
        yield group, tokenizer.encode(group.texts)
    first = next(groups, None)
    if first is not None:
        yield from _side_by_side(first, groups, tokenizer, processes)


def _side_by_side(first: Group, groups: Iterator[Group], tokenizer: Tokenizer, processes: int) -> Encodings:
    pool = ProcessPoolExecutor(
        processes,
        mp_context=get_context("spawn"),
        initializer=_prepare,
        initargs=(tokenizer.name, tokenizer.definition),
    )
    waiting = deque([(first, pool.submit(_encode, first.texts))])
    try:
        while waiting:
            while len(waiting) < 2 * processes and (group := next(groups, None)) is not None:
                waiting.append((group, pool.submit(_encode, group.texts)))
            group, future = waiting.popleft()
            yield group, future.result()
    except BrokenProcessPool as error:
        raise ValueError(
            f"one of {processes} packing processes died, perhaps for want of memory: run it again, it goes on; with "
            "fewer processes if it dies again"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


_worker: list[Tokenizer] = []  # of a packing process


def _prepare(name: str, definition: str | None) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes are the parallelism
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker.append(Tokenizer(name=name, definition=definition))


def _end_with_parent() -> None:
    """A parent that is killed closes no queue: without this its workers would wait for ever."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _encode(texts: list[bytes]) -> Encoded:
    return _worker[0].encode(texts)
