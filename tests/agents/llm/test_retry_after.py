"""How long a provider asks to wait, as its headers say it."""

from __future__ import annotations

import pytest

from agents.llm.wire import _retry_after

DATE = "Wed, 21 Oct 2015 07:28:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2.5"}, 2.5),
        ({"retry-after": "-1"}, 0.0),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        (
            {"retry-after": "Wed, 21 Oct 2015 07:28:30 GMT", "date": DATE},
            30.0,
        ),
        ({"retry-after": DATE}, 0.0),
    ],
)
def test_waits_are_read_from_seconds_and_dates(headers: dict[str, str], seconds: float | None) -> None:
    assert _retry_after(headers) == seconds
