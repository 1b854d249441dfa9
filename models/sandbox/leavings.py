"""What a child leaves in its scratch folder: measured while it lives, removed when it is gone.

No link is ever followed, no path is ever longer than one name, and nothing recurses: folders nested by the thousand,
folders without permissions and names made to collide are all removed. Standard library only.
"""

from __future__ import annotations

import os
import secrets
import stat
import time
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

_MAX_DEPTH = 64
_BATCH = 1_000
BLOCK_BYTES = 512
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """Bytes on disk and entries of a folder; `oddity` names what no honest program makes and nobody can measure."""

    num_bytes: int
    num_entries: int
    oddity: str = ""


def measure(folder: str, *, max_entries: int) -> Contents:
    """What is in a folder while a program may be changing it; counting stops past `max_entries`."""
    num_bytes = num_entries = 0
    oddity = ""
    levels: list[_Level] = []
    try:
        levels.append(_Level(folder, None))
        while levels and num_entries <= max_entries and not oddity:
            entry = next(levels[-1].entries, None)
            if entry is None:
                levels.pop().close()
                continue
            num_entries += 1
            with suppress(FileNotFoundError, NotADirectoryError):
                found = entry.stat(follow_symlinks=False)
                num_bytes += found.st_blocks * BLOCK_BYTES
                if not stat.S_ISDIR(found.st_mode):
                    continue
                if len(levels) > _MAX_DEPTH:
                    oddity = f"folders nested more than {_MAX_DEPTH} deep"
                else:
                    levels.append(_Level(entry.name, levels[-1].fd))
    except PermissionError:
        oddity = "a folder that cannot be listed"
    except OSError:  # it changed under our eyes: the next measurement sees it
        pass
    finally:
        for level in levels:
            level.close()
    return Contents(num_bytes=num_bytes, num_entries=num_entries, oddity=oddity)


def remove(folder: str, *, timeout_s: float) -> bool:
    """Remove a folder whose owners are gone, True once it is; gives up after `timeout_s`, to go on another time.

    Folders are moved up to the top before they are emptied, so that depth costs nothing.
    """
    try:
        top = _opened(folder, None)
        try:
            _Removal(top, time.monotonic() + timeout_s).empty(top)
        finally:
            os.close(top)
        os.rmdir(folder)
    except FileNotFoundError:
        return not os.path.lexists(folder)
    except OSError:
        return False
    return True


class _Removal:
    """One removal under way."""

    def __init__(self, top: int, give_up: float) -> None:
        self._top = top
        self._give_up = give_up
        self._prefix = secrets.token_hex(8)  # no name that is there already
        self._num_moved = 0

    def empty(self, fd: int) -> None:
        """Remove what an open folder holds. Raises OSError, TimeoutError among them."""
        while names := _some(fd):
            for name, is_folder in names:
                if not is_folder:
                    os.unlink(name, dir_fd=fd)
                elif fd == self._top:
                    self._remove_folder(name)
                else:
                    self._move_up(name, fd)
                if time.monotonic() > self._give_up:
                    raise TimeoutError

    def _remove_folder(self, name: str) -> None:
        inner = _opened(name, self._top)
        try:
            self.empty(inner)
        finally:
            os.close(inner)
        os.rmdir(name, dir_fd=self._top)

    def _move_up(self, name: str, fd: int) -> None:
        _grant(name, fd)
        os.rename(name, f"{self._prefix}-{self._num_moved}", src_dir_fd=fd, dst_dir_fd=self._top)
        self._num_moved += 1


class _Level:
    """An open folder and what is left to see in it."""

    def __init__(self, name: str, parent: int | None) -> None:
        self.fd = os.open(name, _FOLDER, dir_fd=parent)
        self.entries = os.scandir(self.fd)

    def close(self) -> None:
        self.entries.close()
        os.close(self.fd)


def _some(fd: int) -> list[tuple[str, bool]]:
    """The next entries of an open folder, and which of them are folders."""
    with os.scandir(fd) as entries:
        return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in islice(entries, _BATCH)]


def _opened(name: str, parent: int | None) -> int:
    """Open a folder that may deny it to its own owner."""
    _grant(name, parent)
    return os.open(name, _FOLDER, dir_fd=parent)


def _grant(name: str, parent: int | None) -> None:
    found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    if stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_IRWXU != stat.S_IRWXU:
        os.chmod(name, stat.S_IRWXU, dir_fd=parent)
