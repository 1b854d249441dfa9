"""Documents of a source in a fixed order, from any place on: files of text, JSONL and Parquet, or Hugging Face rows."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

from models.data.files import source_files, unreadable
from models.data.spec import DataSpec

Position = Any  # JSON: where a source goes on

_ROWS_AT_ONCE = 1_024


class Documents(Protocol):
    """An iterator over documents, as bytes that are never empty, which knows where it stands."""

    def __iter__(self) -> Self: ...

    def __next__(self) -> bytes: ...

    def position(self) -> Position:
        """Where `open_documents` goes on after the last document handed out."""
        ...


def open_documents(spec: DataSpec, position: Position = None) -> Documents:
    """The source's documents, from the start or from a position.

    A text file is a document; of JSONL, Parquet and Hugging Face rows each row's `column` is one. Empty ones are left
    out. Text files are read as bytes; the others have to be valid UTF-8, as their formats demand.

    Raises:
        ValueError: here or while reading: missing source, network or column, an unreadable file, a broken line.
    """
    if spec.is_hub:
        from models.data.hub import HubDocuments

        return HubDocuments(spec, position)
    return FileDocuments([*source_files(spec).values()], spec.column, position)


def fingerprint(spec: DataSpec) -> str:
    """What tells two states of a source apart unread: paths, sizes and times of files; a dataset's name."""
    digest = hashlib.sha256()
    if spec.is_hub:
        told = (spec.source, spec.config, spec.split, spec.data_files, spec.revision)
        digest.update(json.dumps(told).encode())
    else:
        for path in source_files(spec).values():
            found = path.stat()
            digest.update(
                f"{path.resolve()}\0{found.st_size}\0{found.st_mtime_ns}\0".encode("utf-8", "surrogateescape")
            )
    return digest.hexdigest()


class FileDocuments:
    """Documents of files; a position is the number of the file, and of the row in it."""

    def __init__(self, files: Sequence[Path], column: str, position: Position = None) -> None:
        self._files = files
        self._column = column
        self._file, self._row = (0, 0) if position is None else (int(position[0]), int(position[1]))
        self._documents = self._read()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        return next(self._documents)

    def position(self) -> Position:
        return [self._file, self._row]

    def _read(self) -> Iterator[bytes]:
        done = self._row
        for number in range(self._file, len(self._files)):
            for row, text in enumerate(_rows(self._files[number], self._column)):
                if row >= done and text:
                    self._file, self._row = number, row + 1
                    yield text
            done = 0


def _rows(path: Path, column: str) -> Iterator[bytes]:
    if path.name.endswith(".parquet"):
        return _parquet_rows(path, column)
    if path.name.endswith((".jsonl", ".jsonl.gz")):
        return _json_rows(path, column)
    return _whole(path)


def _whole(path: Path) -> Iterator[bytes]:
    try:
        yield path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error


def _json_rows(path: Path, column: str) -> Iterator[bytes]:
    try:
        with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise ValueError(f"{path}:{number} is no JSON ({error}): mend or remove the line") from error
                if not isinstance(row, dict):
                    raise ValueError(f"{path}:{number} holds {type(row).__name__}; a line has to be an object")
                yield text_of(row, column, f"{path}:{number}")
    except (OSError, EOFError) as error:
        raise unreadable(path, error) from error


def _parquet_rows(path: Path, column: str) -> Iterator[bytes]:
    import pyarrow as pa  # here and not above: children of the sandbox import this package and need none of it
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            if column not in file.schema_arrow.names:
                raise missing_column(column, file.schema_arrow.names, str(path))
            row = 0
            for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE, columns=[column], use_threads=False):
                for value in batch.column(0).to_pylist():
                    row += 1
                    yield text_of({column: value}, column, f"{path}, row {row}")
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise unreadable(path, error) from error


def text_of(row: dict[str, Any], column: str, where: str) -> bytes:
    """The text of a row; none at all is empty. Raises ValueError for a missing column or a value that is no text."""
    if column not in row:
        raise missing_column(column, [*row], where)
    value = row[column]
    if value is None:
        return b""
    if not isinstance(value, str):
        raise ValueError(
            f"{where}: column {column!r} holds {type(value).__name__}, no text: name another, data.column=..."
        )
    return value.encode("utf-8", "replace")  # JSON can spell halves of a character


def missing_column(column: str, known: Sequence[str], where: str) -> ValueError:
    """The error for a column that is not there, with those that are."""
    return ValueError(f"{where} has no column {column!r}; it has {', '.join(known) or 'none'}: data.column=NAME")
