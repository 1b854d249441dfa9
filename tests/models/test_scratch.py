from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from models.scratch import Scratch, sweep

OWNER = """
import time
from models.scratch import Scratch
scratch = Scratch("mine-")
print(scratch.path, flush=True)
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def test_what_a_killed_owner_left_is_removed_and_nothing_else() -> None:
    owners = [subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    folders = []
    for owner in owners:
        assert owner.stdout is not None
        folders.append(Path(owner.stdout.readline().strip()))
    (folders[0] / "large").write_text("left")
    owners[0].kill()
    owners[0].wait()
    other = folders[0].with_name("mine-of-somebody-else")
    other.mkdir()
    try:
        sweep("mine-")
        assert all(folder.exists() for folder in folders), "they are too young"
        sweep("mine-", older_than_s=0.0)
        assert [folder.exists() for folder in (*folders, other)] == [False, True, True]
    finally:
        owners[1].kill()
        owners[1].wait()
        for owner in owners:
            assert owner.stdout is not None
            owner.stdout.close()


def test_an_owner_removes_its_own(temporary: Path) -> None:
    scratch = Scratch("mine-")
    assert scratch.path.parent == temporary
    scratch.remove()
    assert list(temporary.iterdir()) == []
