"""How often a model may be asked: calls at once, calls and tokens a minute, and pauses that its provider asks for.

Times are arguments, in seconds of one clock.
"""

from __future__ import annotations

from collections import deque

_WINDOW_S = 60.0


class Rates:
    """The limits of one model. None: no limit."""

    def __init__(self, concurrency: int, requests_per_minute: float | None, tokens_per_minute: float | None) -> None:
        self._concurrency = concurrency
        self._requests, self._tokens = requests_per_minute, tokens_per_minute
        self._open = 0
        self._not_before = 0.0
        self._recent: deque[tuple[float, int]] = deque()

    def wait_s(self, tokens: int, now: float) -> float | None:
        """Seconds until a call of so many tokens may start; 0: now; None: when one that is open has ended."""
        if self._open >= self._concurrency:
            return None
        while self._recent and self._recent[0][0] <= now - _WINDOW_S:
            self._recent.popleft()
        wait = max(0.0, self._not_before - now)
        if self._requests is not None and len(self._recent) >= max(1.0, self._requests):
            wait = max(wait, self._recent[0][0] + _WINDOW_S - now)
        if self._tokens is not None and self._recent:  # a call larger than the limit goes alone
            used = sum(spent for _, spent in self._recent)
            for started, spent in self._recent:
                if used + tokens <= self._tokens:
                    break
                used -= spent
                wait = max(wait, started + _WINDOW_S - now)
        return wait

    def start(self, tokens: int, now: float) -> None:
        self._open += 1
        self._recent.append((now, tokens))

    def end(self) -> None:
        self._open = max(0, self._open - 1)

    def pause(self, until: float) -> None:
        """The provider asked for patience."""
        self._not_before = max(self._not_before, until)
