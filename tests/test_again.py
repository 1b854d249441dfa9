"""What is tried once more: few failures, alone, and what fails again fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STEADY = "def test_passes(): pass\n"
BROKEN = "def test_fails(): assert not 'broken'\n"
# Fails beside others and passes alone: the first run leaves a trace.
UNSTEADY = """
from pathlib import Path
def test_wants_room():
    trace = Path(__file__).with_name("trace")
    seen, _ = trace.exists(), trace.write_text("")
    assert seen
"""


@pytest.mark.parametrize(
    ("source", "code", "told"),
    [
        (STEADY, 0, ()),
        (STEADY + UNSTEADY, 0, ("once more, alone", "UNSTEADY, failed beside others and passed alone")),
        (STEADY + BROKEN, 1, ("once more, alone", "not 'broken'")),
        (BROKEN + UNSTEADY, 1, ("once more, alone", "not 'broken'")),
        ("\n".join(f"def test_{number}(): assert 0" for number in range(4)), 1, ("4 failed",)),
        ("import nothing_of_that_name\n", 2, ("nothing_of_that_name",)),
    ],
    ids=["steady", "unsteady", "broken", "both", "many", "unreadable"],
)
def test_only_what_passes_alone_is_let_pass(tmp_path: Path, source: str, code: int, told: tuple[str, ...]) -> None:
    (tmp_path / "test_it.py").write_text(source)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    script = f"{sys.executable} -m pytest || {sys.executable} -m tests.again $?"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    ran = subprocess.run(
        ["sh", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert ran.returncode == code, ran.stdout + ran.stderr
    for words in told:
        assert words in ran.stdout
    assert ("once more" in ran.stdout) == ("once more, alone" in told)
