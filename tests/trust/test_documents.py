"""The table of the suites in docs/trust.md is what the suites are; that nothing is missed, they show themselves."""

from __future__ import annotations

from pathlib import Path

from .honest import HONEST, SLOW
from .hostile_programs import programs
from .leaks import LEAKS
from .test_hostile import SAME_FOR_ALL_USERS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "trust.md"


def table() -> dict[str, tuple[int, int, int]]:
    text = PAGE.read_text().partition("<!-- suites")[2].partition("<!-- end of suites")[0]
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")][2:]
    return {name.strip(): (int(attempted), int(contained), int(missed)) for name, attempted, contained, missed in rows}


def test_the_page_states_the_suites_as_they_are() -> None:
    hostile = programs()
    attempted = {
        "hostile, refused by the policy": sum(program.seen_by_policy for program in hostile.values()),
        "hostile, policy on": len(hostile),
        "hostile, policy off, present user": len(hostile),
        "hostile, policy off, ordinary user": sum(
            program.family not in SAME_FOR_ALL_USERS for program in hostile.values()
        ),
        "leaks": len(LEAKS),
        "honest modules, no false alarm": len(HONEST) - len(SLOW),
    }
    assert table() == {name: (number, number, 0) for name, number in attempted.items()}
