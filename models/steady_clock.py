"""Stamps that people can read, and that differ by the seconds that passed even where the machine's clock is set."""

from __future__ import annotations

import time


class SteadyClock:
    """Seconds since the epoch when it was made; from there on, what the monotonic clock says has passed."""

    def __init__(self) -> None:
        self._epoch_s, self._began = time.time(), time.monotonic()

    def now(self) -> float:
        return self._epoch_s + (time.monotonic() - self._began)
