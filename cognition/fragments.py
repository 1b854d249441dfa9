"""Fragments in a folder: whole or not there, with the bytes that were written or known to be damaged."""

from __future__ import annotations

import errno
import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from cognition.folders import Folder, Place, at_once, folder_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Fragment:
    """One immutable Parquet file of one table."""

    file: str  # relative to the lineage folder, "trials/0000000042-0.parquet"
    rows: int
    size_bytes: int
    crc32: int  # of the whole file
    level: int  # 0: one commit's rows; n + 1: merged from fragments of level n
    digest: str  # schema.digest_of the record when it was written


class FragmentError(Exception):
    """A fragment is missing or its bytes are not those that were written."""


def write_fragment(lineage: Folder | Place, file: str, rows: pa.Table, *, level: int, digest: str) -> Fragment:
    """Write an Arrow table as one durable Parquet file, and say what was written.

    Raises:
        OSError: the file system refused.
    """
    lasting = level > 0  # a single commit's fragment is soon merged: it is written for speed (twice that of the rest)
    buffer = io.BytesIO()
    pq.write_table(
        rows,
        buffer,
        compression="zstd" if lasting else "snappy",
        use_dictionary=lasting,
        write_statistics=lasting,
        store_schema=False,  # Parquet's own types say it all
    )
    data = buffer.getvalue()
    folder_at(lineage).write(file, data)
    return Fragment(
        file=file, rows=rows.num_rows, size_bytes=len(data), crc32=zlib.crc32(data), level=level, digest=digest
    )


def rows_in(data: bytes, *, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows in a fragment's bytes; `columns`: these alone."""
    with pq.ParquetFile(io.BytesIO(data)) as file:
        return file.read(columns=list(columns) if columns else None, use_threads=False)


def check_fragment(lineage: Folder, fragment: Fragment) -> bytes:
    """The fragment's bytes, exactly those that were written.

    Raises:
        FragmentError: the file is missing, unreadable on its medium, or has other bytes.
        OSError: the file cannot be had for a reason that says nothing about its bytes (permissions, descriptors, an
            object store that cannot be reached).
    """
    try:
        data = lineage.read(fragment.file)
    except FileNotFoundError as error:
        raise FragmentError("missing") from error
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        raise FragmentError(f"unreadable: {error}") from error
    if len(data) != fragment.size_bytes:
        raise FragmentError(f"corrupt: {len(data)} bytes, {fragment.size_bytes} were written")
    if zlib.crc32(data) != fragment.crc32:
        raise FragmentError("corrupt: the checksum differs")
    return data


def check_fragments(lineage: Folder, fragments: Sequence[Fragment]) -> Iterator[tuple[Fragment, bytes | FragmentError]]:
    """Each fragment with its bytes, or with what is wrong with it. Raises OSError as `check_fragment` does."""

    def looked_at(fragment: Fragment) -> tuple[Fragment, bytes | FragmentError]:
        try:
            return fragment, check_fragment(lineage, fragment)
        except FragmentError as damage:
            return fragment, damage

    for first in range(0, len(fragments), lineage.width):  # so that few of them are in memory
        yield from at_once(lineage.width, looked_at, fragments[first : first + lineage.width])
