"""What the trust suites have in common: the tally of what was attempted, contained and missed, printed at the end."""

from __future__ import annotations

from collections import Counter

import pytest

_TALLY = pytest.StashKey[dict[str, Counter[str]]]()


class Tally:
    """Counts outcomes by suite; `contained` is what the suite asks for (caught, refused, or passed without alarm)."""

    def __init__(self, counts: dict[str, Counter[str]]) -> None:
        self._counts = counts

    def count(self, suite: str, *, contained: bool) -> None:
        self._counts.setdefault(suite, Counter())["contained" if contained else "missed"] += 1


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_TALLY] = {}


@pytest.fixture(scope="session")
def tally(pytestconfig: pytest.Config) -> Tally:
    return Tally(pytestconfig.stash[_TALLY])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    counts = config.stash[_TALLY]
    if not counts:
        return
    terminalreporter.section("trust")
    terminalreporter.write_line(f"{'suite':<44}{'attempted':>10}{'contained':>10}{'missed':>8}")
    for suite, outcomes in counts.items():
        attempted = sum(outcomes.values())
        terminalreporter.write_line(f"{suite:<44}{attempted:>10}{outcomes['contained']:>10}{outcomes['missed']:>8}")
