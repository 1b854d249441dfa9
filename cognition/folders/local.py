"""A folder on disk: files are synced beside their place and renamed."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_UNFINISHED = ".tmp"


class LocalFolder:
    """A folder of this machine's file systems."""

    width = 1

    def __init__(self, path: Path) -> None:
        self._path = path

    def __str__(self) -> str:
        return str(self._path)

    @property
    def place(self) -> Path:
        return self._path

    @property
    def path(self) -> Path:
        return self._path

    @property
    def name(self) -> str:
        return self._path.name

    def within(self, name: str) -> LocalFolder:
        return LocalFolder(self._path / name)

    def where(self, name: str) -> str:
        return str(self._path / name)

    def create(self, *folders: str) -> None:
        created = not self._path.exists()
        self._path.mkdir(parents=True, exist_ok=True)
        for folder in folders:
            (self._path / folder).mkdir(exist_ok=True)
        if folders:
            _sync_folder(self._path)
        if created and folders:
            _sync_folder(self._path.parent)

    def exists(self) -> bool:
        return self._path.exists()

    def read(self, name: str) -> bytes:
        return (self._path / name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        """A kill may leave the temporary file behind."""
        path = self._path / name
        temporary = path.with_name(path.name + _UNFINISHED)
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
        _sync_folder(path.parent)

    def remove(self, name: str) -> None:
        (self._path / name).unlink(missing_ok=True)

    def move(self, name: str, to: str) -> bool:
        source, target = self._path / name, self._path / to
        if not target.parent.exists():
            target.parent.mkdir()
            _sync_folder(self._path)
        if source.exists():
            os.replace(source, target)
            _sync_folder(target.parent)
        return target.exists()

    def entries(self) -> list[str]:
        return [entry.name for entry in self._path.iterdir()]

    def files(self) -> list[str]:
        return [path.relative_to(self._path).as_posix() for path in self._path.rglob("*") if path.is_file()]


def _sync_folder(folder: Path) -> None:
    """Make the folder's names durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
