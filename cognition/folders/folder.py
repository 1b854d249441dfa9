"""What a store, a lease and a run's settings need of a folder: whole files, written, read and removed by name."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

_REPLACED_MEANWHILE = 20  # times that somebody may be faster

T = TypeVar("T")
R = TypeVar("R")

Place = Path | str
"""Where a folder is: a path on this machine, or the URI of an object store."""


class Folder(Protocol):
    """A folder whose files are written whole. Names are relative to it, with `/` between their parts.

    Every method raises OSError where the place refuses or cannot be reached. What one process has written, all others
    read from then on. Safe to use from several threads.
    """

    @property
    def place(self) -> Place:
        """Where it is: what `folder_at` takes again."""

    @property
    def path(self) -> Path | None:
        """The same on this machine's disk; None: it is elsewhere."""

    @property
    def name(self) -> str:
        """The last part of the place."""

    @property
    def width(self) -> int:
        """How many files are worth reading or writing at a time."""

    def within(self, name: str) -> Folder:
        """A folder in this one, there or not."""

    def where(self, name: str) -> str:
        """A file's place in words."""

    def create(self, *folders: str) -> None:
        """Make the folder, and folders in it, where the place has such a thing and they are missing."""

    def exists(self) -> bool:
        """Whether there is anything under its name."""

    def read(self, name: str) -> bytes:
        """The whole file. Raises FileNotFoundError where there is none.

        Of a file that is replaced meanwhile an object store may give a part, or more than all of it: see `read_json`.
        """

    def write(self, name: str, data: bytes) -> None:
        """Put the whole file in its place, or leave what was there: durable when this returns.

        Raises:
            OSError: it was refused. In an object store the answer alone may have been lost, and the file be there.
        """

    def remove(self, name: str) -> None:
        """Remove a file; none is no error."""

    def move(self, name: str, to: str) -> bool:
        """Move a file, also where an earlier move was cut off; False where there is nothing under either name."""

    def entries(self) -> list[str]:
        """Names of the files and folders in it."""

    def files(self) -> list[str]:
        """Names of all files in it and below."""


def at_once(width: int, ask: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """What is answered for each item, in their order, `width` of them at a time; raises the first error at the end."""
    items = list(items)
    if width == 1 or len(items) < 2:
        return [ask(item) for item in items]
    with ThreadPoolExecutor(max_workers=width, thread_name_prefix="folder") as threads:
        return list(threads.map(ask, items))


def read_json(folder: Folder, name: str) -> Any:
    """What a JSON file says that others may replace meanwhile.

    An object's size and its bytes are two answers: of one that was replaced in between, the text is cut, or something
    follows it. Neither is JSON, so it is read again.

    Raises:
        FileNotFoundError: there is none.
        OSError: it cannot be had.
        ValueError: it is no JSON.
    """
    for _ in range(_REPLACED_MEANWHILE if folder.path is None else 0):
        with contextlib.suppress(ValueError):
            return json.loads(folder.read(name))
    return json.loads(folder.read(name))


def joined(place: Place, name: str) -> Place:
    """The place of something in a folder; options of a URI stay behind its path."""
    if isinstance(place, Path):
        return place / name
    path, question, options = place.partition("?")
    return f"{path.rstrip('/')}/{name}{question}{options}"


def with_region(uri: str) -> str:
    """With the region that the environment names: pyarrow asks AWS for it otherwise, whoever keeps the bucket."""
    parts = urlsplit(uri)
    own = next((os.environ[name] for name in ("AWS_REGION", "AWS_DEFAULT_REGION") if os.environ.get(name)), None)
    elsewhere = any(os.environ.get(name) for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"))
    if parts.scheme != "s3" or "region=" in parts.query or not (own or elsewhere):
        return uri
    return f"{uri}{'&' if parts.query else '?'}region={own or 'us-east-1'}"
