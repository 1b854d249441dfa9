"""Whether a place can be written and read: a folder, or what a pyarrow URI names."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cognition.folders import with_region

_REFUSALS = (OSError, ValueError, KeyError)


def problem_with(place: str) -> str:
    """Why nothing can be written, read and removed there; empty where it can."""
    try:
        filesystem, folder = _opened(place)
        path, wrote = f"{folder}/doctor-{uuid.uuid4().hex}", b"x" * 4096
        with filesystem.open_output_stream(path) as file:
            file.write(wrote)
        with filesystem.open_input_stream(path) as file:
            read = file.read()
        filesystem.delete_file(path)
    except _REFUSALS as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return "" if read == wrote else "what was read is not what was written"


def sees(place: str, name: str) -> bool:
    """Whether a file of that name is there."""
    from pyarrow import fs

    try:
        filesystem, folder = _opened(place)
        return bool(filesystem.get_file_info(f"{folder}/{name}").type == fs.FileType.File)
    except _REFUSALS:
        return False


@contextlib.contextmanager
def left_at(place: str, name: str) -> Iterator[None]:
    """A small file of that name, where it can be written."""
    try:
        filesystem, folder = _opened(place)
        with filesystem.open_output_stream(f"{folder}/{name}") as file:
            file.write(b"who sees this shares the place")
    except _REFUSALS:
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(*_REFUSALS):
            filesystem.delete_file(f"{folder}/{name}")


def _opened(place: str) -> tuple[Any, str]:
    from pyarrow import fs

    if "://" in place:
        from cognition.folders.object_store import hardened

        filesystem, folder = fs.FileSystem.from_uri(with_region(place))
        return hardened(filesystem), folder.rstrip("/")
    Path(place).mkdir(parents=True, exist_ok=True)
    return fs.LocalFileSystem(), place
