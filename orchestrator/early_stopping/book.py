"""The curves of one stage, kept so that policies can be asked about them."""

from __future__ import annotations

import dataclasses
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
    """Trials of one stage by id; numbers below `num_founders` are founders. Not safe for use by several threads."""

    def __init__(self, num_founders: int) -> None:
        self._num_founders = num_founders
        self._entries: dict[str, _Entry] = {}

    def add_point(self, trial_id: str, number: int, step: int, loss: float) -> None:
        """Note a point; what was known from this step on is of an earlier start of the same trial, and forgotten."""
        entry = self._entries.setdefault(trial_id, _Entry(number=number, founder=number < self._num_founders))
        for later in [at for at in entry.losses if at >= step]:
            del entry.losses[later]
        entry.losses[step] = loss

    def finish(self, trial_id: str, final: float) -> None:
        """It trained to its end, at this sealed loss."""
        if entry := self._entries.get(trial_id):
            entry.peer = dataclasses.replace(entry.peer, final=final)

    def stop(self, trial_id: str) -> None:
        """A policy ended it."""
        if entry := self._entries.get(trial_id):
            entry.peer = dataclasses.replace(entry.peer, stopped=True)

    def forget(self, trial_id: str) -> None:
        """It failed: it is nobody's peer."""
        self._entries.pop(trial_id, None)

    def curve(self, trial_id: str) -> Curve:
        return tuple(self._entries[trial_id].losses.items())

    def peers(self, trial_id: str, horizon: int | None = None) -> list[Peer]:
        """All other trials, or those of candidates up to the number `horizon`."""
        return [
            entry.peer
            for other, entry in self._entries.items()
            if other != trial_id and (horizon is None or entry.number <= horizon)
        ]
