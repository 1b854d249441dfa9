"""What attempts to train took: of those that ended, and of those whose end nobody saw.

When a trial is first seen to hold a slot, an event says so, with the charge as it would be if nothing more were heard
of it. A start that no later charge answers for is lost: it is booked up to the last sign of life, once.
"""

from __future__ import annotations

import dataclasses
import json
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agents.ledger import Cost
from cognition.records import Candidate, Charge, ChargeOutcome, Event, FailureKind, Trial, TrialStatus, charge_id_of
from orchestrator.config import Settings
from orchestrator.population import STARTED, Population

if TYPE_CHECKING:
    from orchestrator.board import RunningTrial

_OUTCOMES = {
    TrialStatus.finished: ChargeOutcome.finished,
    TrialStatus.failed: ChargeOutcome.failed,
    TrialStatus.stopped: ChargeOutcome.stopped,
}
_TICK_S, _EACH_S = 0.5, 5e-4
_LOST = (FailureKind.worker_died, FailureKind.cancelled, FailureKind.corpus)


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What one trial of a stage takes while it holds a slot."""

    pool: str
    num_cpus: float
    num_gpus: float = 0.0

    def worst(self, deadline_s: float) -> Cost:
        """What a trial with this deadline may cost."""
        return Cost(slot_hours=deadline_s / 3600, gpu_hours=deadline_s * self.num_gpus / 3600)


def measuring_id_of(candidate_id: str, stage: str, seed: int) -> str:
    """Under what the measuring of a candidate's efficiency is charged: it is hosted like a trial, and is none."""
    return f"{candidate_id}-{stage}.efficiency-s{seed}"


def share_of(settings: Settings, stage: str) -> Share:
    """What a trial of this stage takes."""
    name = settings.stages[stage].pool
    pool = settings.pools[name]
    return Share(pool=name, num_cpus=pool.cpus, num_gpus=pool.gpus)


def charge_of(candidate: Candidate, trial: Trial, share: Share) -> Charge:
    """An attempt that ended, as the engine tells it; how long a worker that ended had held the slot is estimated."""
    measured = trial.failure is not FailureKind.worker_died
    slot_s = trial.slot_s if measured else max(trial.slot_s, trial.finished_at - trial.started_at, 0.0)
    return Charge(
        charge_id=charge_id_of(trial.trial_id, trial.started_at),
        trial_id=trial.trial_id,
        candidate_id=trial.candidate_id,
        number=candidate.number,
        stage=trial.stage,
        seed=trial.seed,
        arm=candidate.arm,
        pool=share.pool,
        num_cpus=share.num_cpus,
        num_gpus=share.num_gpus,
        slot_s=slot_s,
        gpu_s=slot_s * share.num_gpus,
        outcome=ChargeOutcome.lost if trial.failure in _LOST else _OUTCOMES[trial.status],
        started_at=trial.started_at,
        finished_at=trial.finished_at,
        worker=trial.worker,
        estimated=not measured,
    )


def lost(start: Charge, until: float) -> Charge:
    """An unanswered start as what it took up to its last sign of life."""
    slot_s = max(0.0, until - start.started_at)
    return dataclasses.replace(
        start, finished_at=start.started_at + slot_s, slot_s=slot_s, gpu_s=slot_s * start.num_gpus
    )


def last_sign(population: Population, beat: float) -> float:
    """When the process that drove the campaign before was last heard of: its last row, or its last heartbeat."""
    return max([beat, population.last_event_at, *(charge.finished_at for charge in population.charges[-1:])])


def look_again_s(num_running: int) -> float:
    """Seconds until running trials are looked at again: seldom enough that looking at thousands is no work."""
    return max(_TICK_S, num_running * _EACH_S)


class Starts:
    """Attempts that this process has seen to start; told what runs, it says what is new."""

    def __init__(self, settings: Settings, population: Population) -> None:
        self._settings, self._population = settings, population
        self._known: dict[str, float] = {}  # trial -> start of its latest attempt

    def new(self, running: Iterable[RunningTrial], now: float) -> Sequence[Event]:
        """An event for each attempt that was not seen before."""
        events = []
        for trial in running:
            if self._known.get(trial.trial_id) != trial.started_at:
                self._known[trial.trial_id] = trial.started_at
                events.append(self._started(trial, now))
        return [event for event in events if event is not None]

    def _started(self, trial: RunningTrial, now: float) -> Event | None:
        candidate_id, seed = trial.trial_id.split("-")[0], trial.trial_id.rpartition("-s")[2]
        candidate = self._population.candidate(candidate_id)
        if candidate is None or self._population.has_trial(trial.trial_id):
            return None
        share = share_of(self._settings, trial.stage)
        start = Charge(
            charge_id=charge_id_of(trial.trial_id, trial.started_at),
            trial_id=trial.trial_id,
            candidate_id=candidate_id,
            number=candidate.number,
            stage=trial.stage,
            seed=int(seed),
            arm=candidate.arm,
            pool=share.pool,
            num_cpus=share.num_cpus,
            num_gpus=share.num_gpus,
            slot_s=0.0,
            gpu_s=0.0,
            outcome=ChargeOutcome.lost,
            started_at=trial.started_at,
            finished_at=trial.started_at,
            estimated=True,
        )
        detail = json.dumps(dataclasses.asdict(start))
        return Event(event_id=uuid.uuid4().hex, kind=STARTED, subject=trial.trial_id, detail=detail, created_at=now)
