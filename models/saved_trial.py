"""One trial's checkpoint, from the side of the trial: nothing that storage does ends a training."""

from __future__ import annotations

import time
from collections.abc import Callable

from cognition.records import FailureKind, Trial
from models.checkpoints import Checkpoint, CheckpointError, Checkpoints, CheckpointSpec

_FOR_ANOTHER_ATTEMPT = (FailureKind.cancelled, FailureKind.worker_died, FailureKind.killed)
_EARLY_SHARE = 0.5  # of the cadence: a child that hands over sooner is not written for


class SavedTrial:
    """Loads, saves and drops the checkpoint of one trial.

    `job` is the digest of what is trained. Without a spec there is nothing to load and nothing is saved.
    """

    def __init__(
        self,
        spec: CheckpointSpec | None,
        trial_id: str,
        job: str,
        *,
        store: Callable[[str], Checkpoints] = Checkpoints.at,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.every_s = spec.every_s if spec is not None else None
        self._unread = self._unwritten = ""
        self._spec, self._trial_id, self._job = spec, trial_id, job
        self._at, self._clock = store, clock
        self._since = clock()
        self._store: Checkpoints | None = None

    def load(self) -> Checkpoint | None:
        """What an earlier attempt left, or None: then the trial begins at the beginning."""
        try:
            store = self._opened()
            found = store.load(self._trial_id) if store is not None else None
        except CheckpointError as error:
            self._unread = f"{error}: it began anew"
            return None
        if found is not None and found.job != self._job:
            self._unread = "a checkpoint under its id was of other source, stage, seed, data or device: it began anew"
            return None
        return found

    @property
    def problem(self) -> str:
        """What went wrong with it, for people; empty when nothing did."""
        return "\n".join(filter(None, (self._unread, self._unwritten)))

    @property
    def due(self) -> bool:
        """False for one that comes far too early: a child could fill the disk otherwise."""
        return self.every_s is not None and self._clock() - self._since >= _EARLY_SHARE * self.every_s

    def save(self, checkpoint: Checkpoint) -> None:
        try:
            store = self._opened()
            if store is not None:
                store.save(self._trial_id, checkpoint)
                self._unwritten = ""
        except CheckpointError as error:
            self._unwritten = str(error)
        self._since = self._clock()

    def end(self, trial: Trial) -> None:
        """Drop it, unless the trial was cut off by what another attempt may be spared."""
        if trial.failure in _FOR_ANOTHER_ATTEMPT:
            return
        try:
            store = self._opened()
            if store is not None:
                store.drop(self._trial_id)
        except CheckpointError as error:
            self._unwritten = str(error)

    def _opened(self) -> Checkpoints | None:
        if self._store is None and self._spec is not None:
            self._store = self._at(self._spec.uri)
        return self._store
