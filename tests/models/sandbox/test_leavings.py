"""What a child leaves is measured and removed, whatever it is."""

import os
import socket
import sys
from pathlib import Path

import pytest

from models.sandbox import leavings

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX folders")


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def nest(folder: Path, depth: int) -> None:
    fd = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("x", dir_fd=fd)
        deeper = os.open("x", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = deeper
    os.close(fd)


def test_links_are_removed_and_what_they_point_to_stays(tmp_path: Path, scratch: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("x" * 10_000)
    (scratch / "folder").symlink_to(kept)
    (scratch / "file").symlink_to(kept / "file")
    (scratch / "inner").mkdir()
    (scratch / "inner" / "folder").symlink_to(kept)
    os.link(kept / "file", scratch / "hard")
    os.mkfifo(scratch / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(scratch / "socket"))
    assert leavings.measure(str(scratch), max_entries=100).num_entries == 7
    assert leavings.remove(str(scratch), timeout_s=60)
    assert not scratch.exists()
    assert (kept / "file").read_text() == "x" * 10_000


def test_a_link_in_the_place_of_the_folder_is_not_followed(tmp_path: Path, scratch: Path) -> None:
    (scratch / "file").touch()
    link = tmp_path / "link"
    link.symlink_to(scratch)
    assert not leavings.remove(str(link), timeout_s=60)
    assert leavings.measure(str(link), max_entries=10).num_entries == 0
    assert (scratch / "file").exists()


def test_folders_nested_by_the_thousand_are_removed(scratch: Path) -> None:
    nest(scratch, 2_000)
    assert "deep" in leavings.measure(str(scratch), max_entries=10_000).oddity
    assert leavings.remove(str(scratch), timeout_s=60)
    assert not scratch.exists()


def test_many_folders_side_by_side_are_measured_and_removed(scratch: Path) -> None:
    for number in range(700):
        (scratch / f"{number}").mkdir()
        (scratch / f"{number}" / "file").touch()
    found = leavings.measure(str(scratch), max_entries=10_000)
    assert (found.num_entries, found.oddity) == (1_400, "")
    assert leavings.measure(str(scratch), max_entries=100).num_entries == 101
    assert leavings.remove(str(scratch), timeout_s=60)


def test_bytes_on_disk_are_counted(scratch: Path) -> None:
    (scratch / "written").write_bytes(b"x" * 1_000_000)
    os.truncate(os.open(scratch / "sparse", os.O_CREAT | os.O_WRONLY), 1 << 30)
    assert 1_000_000 <= leavings.measure(str(scratch), max_entries=10).num_bytes < 2_000_000


@pytest.mark.parametrize("as_root", [True, False])
def test_folders_without_permissions_are_removed(tmp_path: Path, as_root: bool) -> None:
    if as_root and os.geteuid() != 0:
        pytest.skip("not root")
    scratch = tmp_path / "scratch"
    (scratch / "a" / "b" / "c").mkdir(parents=True)
    (scratch / "a" / "file").touch()
    if as_root:
        for folder in ("a/b/c", "a/b", "a", ""):
            (scratch / folder).chmod(0)
        assert leavings.remove(str(scratch), timeout_s=60)
        assert not scratch.exists()
        return
    # The same without root's right to enter any folder.
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            if os.geteuid() == 0:
                for folder in (scratch, scratch / "a", scratch / "a" / "b", scratch / "a" / "b" / "c"):
                    os.chown(folder, 65_534, 65_534)
                os.chdir(tmp_path)
                os.chown(tmp_path, 65_534, 65_534)
                os.setgid(65_534)
                os.setuid(65_534)
            os.chdir(".")
            for folder in ("scratch/a/b/c", "scratch/a/b", "scratch/a"):
                os.chmod(folder, 0)
            odd = leavings.measure("scratch", max_entries=100).oddity == "a folder that cannot be listed"
            code = 0 if odd and leavings.remove("scratch", timeout_s=60) and not os.path.exists("scratch") else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_removal_gives_up_in_time_and_goes_on_later(scratch: Path) -> None:
    for number in range(3_000):
        (scratch / f"{number}").touch()
    assert not leavings.remove(str(scratch), timeout_s=0)
    assert 0 < len(os.listdir(scratch)) < 3_000
    assert leavings.remove(str(scratch), timeout_s=60)
