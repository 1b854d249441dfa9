"""Fragments where DuckDB can read them: its wheels have no way to object stores (httpfs is not in them).

Fragments never change, so that each is fetched once. Copies lie in a temporary folder of the process, at most as much
as the manifest names; they go with whoever reads them, and those of processes that were killed with the next reader.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from cognition.folders import Folder, LocalFolder, at_once
from cognition.fragments import Fragment, FragmentError, check_fragment, check_fragments
from cognition.manifest import Manifest

_PREFIX, _LOCK = "lineage-", "lock"


class Copies(Protocol):
    """Local files with the bytes of fragments."""

    root: Path
    """Under it, fragments have the names that they have in the store."""

    def read(self, fragment: Fragment) -> bytes:
        """A fragment's bytes. Raises what `check_fragment` does."""

    def check(self, fragments: Sequence[Fragment]) -> Mapping[Fragment, str]:
        """Have these at hand; which are missing or damaged, and how. Raises OSError as `check_fragment` does."""

    def keep(self, manifest: Manifest) -> None:
        """Let go of what this state does not name; later states name nothing older."""


def copies_of(lineage: Folder) -> Copies:
    """The copies that readers of this lineage use: the files themselves where they are on this machine."""
    if lineage.path is not None:
        return _Originals(lineage, lineage.path.absolute())
    return _Fetched(lineage)


class _Originals:
    def __init__(self, lineage: Folder, root: Path) -> None:
        self._lineage, self.root = lineage, root

    def read(self, fragment: Fragment) -> bytes:
        return check_fragment(self._lineage, fragment)

    def check(self, fragments: Sequence[Fragment]) -> Mapping[Fragment, str]:
        looked_at = check_fragments(self._lineage, fragments)
        return {fragment: str(found) for fragment, found in looked_at if isinstance(found, FragmentError)}

    def keep(self, manifest: Manifest) -> None:
        """They are the store's."""


class _Fetched:
    def __init__(self, lineage: Folder) -> None:
        self._lineage = lineage
        _remove_left(Path(tempfile.gettempdir()))
        self.root, lock = _own_folder()
        self._local = LocalFolder(self.root)
        self._generation = -1
        weakref.finalize(self, _end, self.root, lock)

    def read(self, fragment: Fragment) -> bytes:
        with contextlib.suppress(FragmentError):
            return check_fragment(self._local, fragment)
        data = check_fragment(self._lineage, fragment)
        path = self.root / fragment.file
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f"{path.name}.{os.urandom(4).hex()}")
        beside.write_bytes(data)
        beside.replace(path)  # whoever reads an older file of that name reads on
        return data

    def check(self, fragments: Sequence[Fragment]) -> Mapping[Fragment, str]:
        def looked_at(fragment: Fragment) -> str | None:
            try:
                self.read(fragment)
            except FragmentError as damage:
                return str(damage)
            return None

        found = at_once(self._lineage.width, looked_at, fragments)
        return {fragment: damage for fragment, damage in zip(fragments, found, strict=True) if damage is not None}

    def keep(self, manifest: Manifest) -> None:
        if manifest.generation <= self._generation:
            return
        self._generation = manifest.generation
        named = {fragment.file for fragment in manifest.live()}
        named.update(file for entry in manifest.retired for file in entry.files)
        for path in self.root.glob("*/*"):
            if path.relative_to(self.root).as_posix() not in named:
                path.unlink(missing_ok=True)


def _own_folder() -> tuple[Path, int]:
    """A new temporary folder, and the lock in it that says that its owner lives."""
    root = Path(tempfile.mkdtemp(prefix=_PREFIX))
    lock = os.open(root / f"{_LOCK}.new", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    (root / f"{_LOCK}.new").rename(root / _LOCK)  # locked when others see it
    return root, lock


def _remove_left(parent: Path) -> None:
    """Folders whose owners were killed: nobody holds the lock in them."""
    for path in _mine(parent.glob(f"{_PREFIX}*/{_LOCK}")):
        with contextlib.suppress(OSError):
            lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path.parent, ignore_errors=True)
            finally:
                os.close(lock)


def _mine(paths: Iterable[Path]) -> list[Path]:
    found = []
    for path in paths:
        with contextlib.suppress(OSError):
            if path.stat().st_uid == os.geteuid():
                found.append(path)
    return found


def _end(root: Path, lock: int) -> None:
    shutil.rmtree(root, ignore_errors=True)
    os.close(lock)
