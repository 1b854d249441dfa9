"""Fragments on disk: whole or not there, with the bytes that were written or known to be damaged."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


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


def write_fragment(lineage: Path, file: str, rows: pa.Table, *, level: int, digest: str) -> Fragment:
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
    write_durably(lineage / file, data)
    return Fragment(
        file=file, rows=rows.num_rows, size_bytes=len(data), crc32=zlib.crc32(data), level=level, digest=digest
    )


def read_fragment(lineage: Path, fragment: Fragment, *, columns: tuple[str, ...] | None = None) -> pa.Table:
    """The rows of a fragment, after a check of its bytes; `columns`: these alone. Raises what `check_fragment` does."""
    with pq.ParquetFile(io.BytesIO(check_fragment(lineage, fragment))) as file:
        return file.read(columns=list(columns) if columns else None, use_threads=False)


def check_fragment(lineage: Path, fragment: Fragment) -> bytes:
    """The fragment's bytes, exactly those that were written.

    Raises:
        FragmentError: the file is missing, unreadable on its medium, or has other bytes.
        OSError: the file cannot be opened for a reason that says nothing about its bytes (permissions, descriptors).
    """
    try:
        data = (lineage / fragment.file).read_bytes()
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


def write_durably(path: Path, data: bytes) -> None:
    """Write the whole file or nothing: temporary file, fsync, rename, fsync of the folder.

    Raises:
        OSError: the file system refused. A kill may leave the temporary file behind.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):  # it may refuse this as well; the next attempt writes over the file
            temporary.unlink()
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the folder's names durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
