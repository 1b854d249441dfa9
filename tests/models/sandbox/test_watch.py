from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from models.sandbox.layer import Limits
from models.sandbox.watch import Watch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")


def allowance(tmp_path: Path, fd: int) -> int:
    with (tmp_path / "log").open("w+b") as log:
        watch = Watch(
            pid=os.getpid(),
            scratch=str(tmp_path),
            log_fd=log.fileno(),
            limits=Limits(),
            handed_fds=(fd,),
            forked_bytes=0,
        )
    return watch._handed_bytes


def test_what_is_lent_in_memory_is_not_held_against_a_child(tmp_path: Path):
    with os.fdopen(os.memfd_create("tokens"), "w+b") as file:
        file.write(b"x" * 5_000)
        file.flush()
        assert allowance(tmp_path, file.fileno()) == 5_000


def test_what_is_lent_from_disk_is_no_allowance(tmp_path: Path):
    """Its pages are not counted as the child's memory: there is nothing to take off."""
    with Path(__file__).open("rb") as file:
        assert allowance(tmp_path, file.fileno()) == 0


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="needs a tmpfs")
def test_a_lent_file_on_a_tmpfs_is_memory(tmp_path: Path):
    path = Path(f"/dev/shm/lent-{os.getpid()}")
    try:
        path.write_bytes(b"x" * 5_000)
        with path.open("rb") as file:
            assert allowance(tmp_path, file.fileno()) == 5_000
    finally:
        path.unlink()
