"""How fast a campaign spends, and where that ends: from its rows, so that any process can tell."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from cognition.records import Event
from orchestrator.config import Settings
from orchestrator.estimate import StageWork, stage_works
from orchestrator.population import Population
from orchestrator.rows import event

EXPECTED = "expected"  # what the campaign's trials are expected to take, written at each start
_WINDOW_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Burn:
    """Hours of slots, or of GPUs where trials take some."""

    unit: str  # "slot-hours" or "GPU-hours"
    spent: float  # trials under way included
    per_hour: float  # of clock, lately
    at_end: float
    limit: float | None = None

    def __str__(self) -> str:
        told = f"{figure(self.spent)} {self.unit} ({figure(self.per_hour)}/h), about {figure(self.at_end)} at the end"
        return told if self.limit is None else f"{told}, of {figure(self.limit)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a campaign has to train and may spend on it, as its latest start saw it."""

    works: tuple[StageWork, ...]
    slot_hours: float | None = None  # limits
    gpu_hours: float | None = None

    @classmethod
    def of(cls, settings: Settings, population: Population) -> Plan:
        """As far as it is known by now."""
        budget = settings.budget
        return cls(works=stage_works(settings, population), slot_hours=budget.slot_hours, gpu_hours=budget.gpu_hours)

    @classmethod
    def written(cls, events: Iterable[Event]) -> Plan | None:
        """The latest that was written down; None before there was one."""
        details = [record.detail for record in events if record.kind == EXPECTED]
        if not details:
            return None
        plan = json.loads(details[-1])
        return cls(**{**plan, "works": tuple(StageWork(**work) for work in plan["works"])})

    def as_event(self) -> Event:
        return event(EXPECTED, detail=json.dumps(asdict(self)))


def burn_of(plan: Plan, population: Population, since: float, now: float) -> Burn:
    """What was spent up to `now`, at which rate lately (not before the start at `since`), and where that ends."""
    gpus = any(work.num_gpus for work in plan.works)
    under_way = population.unanswered()
    spent = population.tallies.gpu_s if gpus else population.tallies.slot_s
    held = sum((now - start.started_at) * (start.num_gpus if gpus else 1.0) for start in under_way)
    left = 0.0
    for work in plan.works:
        done = population.tallies.num_trials[work.stage]
        each_s = population.tallies.mean_slot_s(work.stage) or work.expected_s
        left += max(0, work.num_trials - done) * each_s * (work.num_gpus if gpus else 1.0)
    return Burn(
        unit="GPU-hours" if gpus else "slot-hours",
        spent=(spent + held) / 3600,
        per_hour=_rate(population, max(since, now - _WINDOW_S), now, gpus=gpus),
        at_end=(spent + max(left, held)) / 3600,
        limit=plan.gpu_hours if gpus else plan.slot_hours,
    )


def _rate(population: Population, since: float, now: float, *, gpus: bool) -> float:
    """Hours held per hour of clock: the mean number of slots, or GPUs, that were in use."""
    if now <= since:
        return 0.0
    held = 0.0
    for start in population.unanswered():
        held += (now - max(start.started_at, since)) * (start.num_gpus if gpus else 1.0)
    for charge in population.tallies.charges_after(since):
        overlap = min(charge.finished_at, now) - max(charge.started_at, since)
        held += max(0.0, overlap) * (charge.num_gpus if gpus else 1.0)
    return held / (now - since)


def figure(hours: float) -> str:
    """Three digits, as many as tell something."""
    return f"{hours:,.0f}" if hours >= 1000 else f"{hours:.3g}"
