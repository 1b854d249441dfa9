"""Token ids: one array in memory, or several memory-mapped files read as one sequence.

Shapes: N windows, S tokens in a span.
"""

from __future__ import annotations

import mmap
import os
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

READ_ONLY = 0o444  # the mode of a finished shard

TokenArray = NDArray[np.unsignedinteger[Any]]


class PackedTokens:
    """The tokens of several read-only arrays as one sequence, in their order; `fds` are the files of mapped ones."""

    def __init__(self, arrays: Sequence[TokenArray], fds: Sequence[int] = ()) -> None:
        if not arrays or not all(len(array) for array in arrays):
            raise ValueError(f"{len(arrays)} shards, of which some are empty: pack the corpus anew")
        self._arrays = tuple(arrays)
        self._fds = tuple(fds)
        self._ends = np.cumsum([len(array) for array in arrays])
        self._begins = self._ends - [len(array) for array in arrays]

    @classmethod
    def mapped(cls, paths: Sequence[Path], dtype: str) -> PackedTokens:
        """The files, mapped; nothing is read yet."""
        fds: list[int] = []
        try:
            for path in paths:
                fds.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
            tokens = cls([_mapped(fd, dtype) for fd in fds], fds)
        except BaseException:
            _close(fds)
            raise
        weakref.finalize(tokens, _close, fds)
        return tokens

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._arrays[0].dtype

    @property
    def counts(self) -> tuple[int, ...]:
        """Tokens of each shard."""
        return tuple(len(array) for array in self._arrays)

    def spans(self, starts: NDArray[np.int64], length: int) -> NDArray[np.int64]:
        """Tokens [start, start + length) of each start, int64 [N, S]; a span may run over shards."""
        found = np.empty((len(starts), length), dtype=np.int64)
        for row, start in zip(found, starts.tolist(), strict=True):
            if not 0 <= start <= len(self) - length:
                raise IndexError(f"tokens [{start}, {start + length}) of {len(self)}")
            self._read(start, row)
        return found

    def _read(self, start: int, row: NDArray[np.int64]) -> None:
        shard, done = int(np.searchsorted(self._ends, start, side="right")), 0
        while done < len(row):
            inside = start + done - int(self._begins[shard])
            piece = self._arrays[shard][inside : inside + len(row) - done]
            row[done : done + len(piece)] = piece
            shard, done = shard + 1, done + len(piece)

    @contextmanager
    def lent(self) -> Iterator[tuple[int, ...]]:
        """The shards' files, open for reading alone, to hand to a child that may open none.

        They were opened once, and get their mode back: a child of the same user (on CUDA) can change that of an open
        file, though not its content.
        """
        try:
            yield self._fds
        finally:
            for fd in self._fds:
                with suppress(PermissionError):  # another user's, whose mode no child could change
                    os.fchmod(fd, READ_ONLY)


Tokens = TokenArray | PackedTokens


def layout_of(tokens: Tokens) -> dict[str, Any]:
    """What a child has to be told of the files with these tokens, as JSON: kind, number format, tokens of each."""
    if isinstance(tokens, PackedTokens):
        return {"packed": True, "dtype": tokens.dtype.name, "counts": [*tokens.counts]}
    return {"packed": False, "dtype": tokens.dtype.name, "counts": [len(tokens)]}


def handed_tokens(fds: Sequence[int], layout: Mapping[str, Any]) -> Tokens:
    """The tokens in handed files, mapped, as `layout_of` told of them. Raises ValueError where the files differ."""
    counts = layout["counts"]
    if len(fds) != len(counts):
        raise ValueError(f"{len(fds)} files were handed over, {len(counts)} were told of")
    arrays = []
    for fd, num_tokens in zip(fds, counts, strict=True):
        array = _mapped(fd, layout["dtype"])
        if len(array) != num_tokens:
            raise ValueError(f"a handed file holds {len(array)} tokens, {num_tokens} were told of")
        arrays.append(array)
    return PackedTokens(arrays) if layout["packed"] else arrays[0]


def _mapped(fd: int, dtype: str) -> TokenArray:
    return np.frombuffer(mmap.mmap(fd, 0, prot=mmap.PROT_READ), dtype=np.dtype(dtype).newbyteorder("<"))


def _close(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
