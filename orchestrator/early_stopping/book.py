"""The curves of one stage on one seed, kept so that policies can be asked about them.

As many as policies look at: a trial has the founders' and the latest candidates' as peers, so that a campaign's
hundred-thousandth trial takes no longer to judge than its thousandth, and what is kept does not grow.
"""

from __future__ import annotations

import dataclasses
from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass, field

from orchestrator.early_stopping.curves import Curve, Peer


@dataclass(slots=True)
class _Entry:
    number: int  # the candidate's
    founder: bool
    losses: dict[int, float] = field(default_factory=dict)
    peer: Peer = field(init=False)  # what others see; shares the losses, so that it is made anew only when it ends

    def __post_init__(self) -> None:
        self.peer = Peer(losses=self.losses, founder=self.founder)


class CurveBook:
    """Trials of one stage on one seed, by id. Not safe for use by several threads.

    Args:
        num_founders: numbers below are founders, whose curves are kept for good.
        most_peers: of the candidates' trials, so many that ended and so many under way are anybody's peers, those with
            the highest numbers. Twice as many that ended are kept, for who looks from a little further back.
    """

    def __init__(self, num_founders: int, most_peers: int) -> None:
        self._num_founders, self._most_peers = num_founders, most_peers
        self._entries: dict[str, _Entry] = {}
        # (number, trial) by number
        self._founders: list[tuple[int, str]] = []
        self._under_way: list[tuple[int, str]] = []
        self._ended: list[tuple[int, str]] = []

    def add_point(self, trial_id: str, number: int, step: int, loss: float) -> None:
        """Note a point; what was known from this step on is of an earlier start of the same trial, and forgotten."""
        if (entry := self._entries.get(trial_id)) is None:
            entry = self._entries[trial_id] = _Entry(number=number, founder=number < self._num_founders)
            insort(self._founders if entry.founder else self._under_way, (number, trial_id))
        for later in [at for at in entry.losses if at >= step]:
            del entry.losses[later]
        entry.losses[step] = loss

    def finish(self, trial_id: str, final: float) -> None:
        """It trained to its end, at this sealed loss."""
        if entry := self._entries.get(trial_id):
            entry.peer = dataclasses.replace(entry.peer, final=final)
            self._end(trial_id, entry)

    def stop(self, trial_id: str) -> None:
        """A policy ended it."""
        if entry := self._entries.get(trial_id):
            entry.peer = dataclasses.replace(entry.peer, stopped=True)
            self._end(trial_id, entry)

    def forget(self, trial_id: str) -> None:
        """It failed: it is nobody's peer."""
        if entry := self._entries.pop(trial_id, None):
            for trials in (self._founders, self._under_way, self._ended):
                _take_out(trials, (entry.number, trial_id))

    def curve(self, trial_id: str) -> Curve:
        return tuple(self._entries[trial_id].losses.items())

    def peers(self, trial_id: str, horizon: int | None = None) -> list[Peer]:
        """The trial's peers, or those of them up to the number `horizon`."""
        most = self._most_peers
        found: list[Peer] = []
        for trials, latest in ((self._founders, len(self._founders)), (self._ended, most), (self._under_way, most)):
            there = _until(trials, horizon)
            others = [other for _, other in there[-latest - 1 :] if other != trial_id]
            found += [self._entries[other].peer for other in others[-latest:]]
        return found

    def __len__(self) -> int:
        """How many curves are kept."""
        return len(self._entries)

    def _end(self, trial_id: str, entry: _Entry) -> None:
        key = (entry.number, trial_id)
        if _take_out(self._under_way, key):
            insort(self._ended, key)
            for _, oldest in self._ended[: -2 * self._most_peers]:
                del self._entries[oldest]
            del self._ended[: -2 * self._most_peers]


def _take_out(trials: list[tuple[int, str]], key: tuple[int, str]) -> bool:
    """Whether it was among them; they are in order."""
    place = bisect_left(trials, key)
    found = place < len(trials) and trials[place] == key
    if found:
        del trials[place]
    return found


def _until(trials: Sequence[tuple[int, str]], horizon: int | None) -> Sequence[tuple[int, str]]:
    return trials if horizon is None else trials[: bisect_right(trials, horizon, key=lambda trial: trial[0])]
