"""Scratch folders of processes that may be killed: what one leaves behind, the next one clears away.

The owner holds a lock on a file in its folder, which the kernel drops with it, whatever ended it. No process ids:
containers may share the folder and not those.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

OWNED = ".owned"
_FRESH_S = 60.0  # its owner may not have got to the lock yet


class Scratch:
    """A new folder under the system's temporary one, after those of dead owners are removed."""

    def __init__(self, prefix: str) -> None:
        sweep(prefix)
        self.path = Path(tempfile.mkdtemp(prefix=prefix))
        self._lock = open(self.path / OWNED, "w")  # noqa: SIM115  # kept: the lock is its
        with contextlib.suppress(OSError):  # a file system without locks: nobody clears away there
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def release(self) -> None:
        """Give up the lock; what is still there is anybody's to remove."""
        self._lock.close()

    def remove(self) -> None:
        self.release()
        shutil.rmtree(self.path, ignore_errors=True)


def sweep(prefix: str, older_than_s: float = _FRESH_S) -> None:
    """Remove folders of this prefix, and of this user, whose owner has ended."""
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        with contextlib.suppress(OSError):
            lock = folder / OWNED
            about = lock.stat()
            if about.st_uid != os.geteuid() or abs(time.time() - about.st_mtime) < older_than_s:
                continue
            with lock.open("r+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
