"""What the trust suites have in common: what was attempted, contained and missed goes into the reports of the tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest


class Tally:
    """Counts outcomes by suite; `contained` is what the suite asks for (caught, refused, or passed without alarm)."""

    def __init__(self, record: Callable[[str, object], None]) -> None:
        self._record = record

    def count(self, suite: str, *, contained: bool) -> None:
        self._record("trust", (suite, contained))


@pytest.fixture
def tally(record_property: Callable[[str, object], None]) -> Tally:
    return Tally(record_property)
