"""The crew without Ray: real agents, purse and gate's queue in one process; designs and examinations are made up."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from agents.analyst import Analyst
from agents.brief import Brief, Evidence
from agents.engineer import Engineer
from agents.grammar.genes import text_of
from agents.grammar.spaces import space_of
from agents.judge import Judge
from agents.purse import Purse
from agents.researcher import Researcher
from cognition.records import Candidate, Metric, Property, Report, ReportKind, Trial, Verdict
from models.trial import ExamJob
from orchestrator.engine_actor import EngineRunner
from orchestrator.gates import Examiners
from orchestrator.simulation.engines import Engines, World
from orchestrator.simulation.meter import OUTSIDE, Handle

FINGERPRINT, STRUCTURE = 88, 128  # numbers, as the gate sends them
_SOURCE = "    # what a design of the grammar takes in text\n" * 80  # 4 kB


@dataclass(slots=True, kw_only=True)
class Stopwatch:
    """Seconds that candidates spent in each stage of their way, waiting included."""

    total_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    num: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, stage: str, seconds: float) -> None:
        self.total_s[stage] += seconds
        self.num[stage] += 1

    def means(self) -> dict[str, float]:
        return {stage: total / self.num[stage] for stage, total in self.total_s.items()}


class Server:
    """Somebody who does so many things at once, for whom others wait; and how long it was busy."""

    def __init__(self, at_once: int) -> None:
        self.at_once = at_once
        self._free = asyncio.Semaphore(at_once)
        self.busy_s = 0.0

    async def take(self, seconds: float) -> None:
        async with self._free:
            self.busy_s += seconds
            await asyncio.sleep(seconds)


class SimulatedProposer:
    """Designs that nobody can run, with parents and changes as the grammar would name them."""

    def __init__(self, world: World, stopwatch: Stopwatch) -> None:
        self._world, self._stopwatch = world, stopwatch
        settings = world.settings
        self._domains = space_of(settings.campaign.slot).domains
        self.server = Server(world.costs.proposals_at_once)
        self.last_number = len(settings.campaign.founders) + settings.budget.candidates - 1
        self.last_asked_s: float | None = None  # when the last number was asked for, and with it the GPU time so far
        self.gpu_s_then = 0.0

    async def propose(self, brief: Brief) -> Candidate:
        parents = brief.parents[:1] if brief.arm == "grammar" else ()
        parent_ids = tuple(parent.candidate.candidate_id for parent in parents)
        if brief.number == self.last_number:
            self.last_asked_s, self.gpu_s_then = self._world.clock.seconds(), self._world.usage.gpu_s
        return await self._write(brief, brief.arm, brief.attempt, parent_ids)

    async def repair(self, candidate: Candidate, evidence: Evidence, brief: Brief) -> Candidate:
        attempt, repaired = candidate.attempt + 1, candidate.candidate_id
        return await self._write(brief, candidate.arm, attempt, candidate.parent_ids, repaired)

    async def _write(
        self, brief: Brief, arm: str, attempt: int, parent_ids: tuple[str, ...], repairs: str | None = None
    ) -> Candidate:
        since = self._world.clock.seconds()
        await self.server.take(self._world.costs.propose_s)
        self._stopwatch.add("propose", self._world.clock.seconds() - since)
        identity = hashlib.sha256(f"{brief.seed}/{brief.number}/{attempt}".encode()).hexdigest()[:16]
        rng = np.random.default_rng([brief.seed, brief.number, attempt])
        return Candidate(
            candidate_id=identity,
            number=brief.number,
            attempt=attempt,
            arm=arm,
            slot=brief.slot,
            name=f"design-{identity}",
            motivation="made up for a simulation",
            source=f"# {identity}\n{_SOURCE}",
            parent_ids=parent_ids,
            changes=self._changes(rng) if parent_ids else (),
            repairs=repairs,
            genome="{}",
        )

    def _changes(self, rng: np.random.Generator) -> tuple[str, ...]:
        """One change, or two: agents.grammar.proposer's `second_change`."""
        num = 1 + int(rng.random() < self._world.settings.grammar.second_change)
        names = list(self._domains)
        found = []
        for place in rng.choice(len(names), size=num, replace=False):
            name = names[int(place)]
            old, new = rng.choice(len(self._domains[name]), size=2, replace=False)
            found.append(f"{name}: {text_of(self._domains[name][old])} -> {text_of(self._domains[name][new])}")
        return tuple(found)


class SimulatedGate:
    """One of the gate's processes: takes its time, and refuses a few."""

    def __init__(self, world: World, stopwatch: Stopwatch) -> None:
        self._world, self._stopwatch = world, stopwatch
        self.busy_s = 0.0

    async def examine(self, job: ExamJob) -> Report:
        costs = self._world.costs
        rng = np.random.default_rng([self._world.settings.seed, job.number, job.attempt, int(job.thorough)])
        took_s = float(rng.choice(costs.gates_s)) * (costs.thorough_gate_factor if job.thorough else 1.0)
        self.busy_s += took_s
        await asyncio.sleep(took_s)
        self._stopwatch.add("gate", took_s)
        founder = job.number < len(self._world.settings.campaign.founders)
        refused = not founder and not job.thorough and float(rng.random()) < costs.refused_share
        report = Report(
            candidate_id=job.candidate_id,
            number=job.number,
            attempt=job.attempt,
            kind=ReportKind.refused if refused else ReportKind.passed,
            duration_s=took_s,
            created_at=self._world.clock.now(),
        )
        if refused:
            failed = Property(name="causality", passed=False, figure=0.2, limit=1e-4)
            return replace(report, detail="causality 0.2 over 1e-4", properties=(failed,))
        return replace(
            report,
            properties=(Property(name="decode", passed=True, figure=0.0, limit=1e-4),),
            fingerprint=tuple(rng.standard_normal(FINGERPRINT).tolist()),
            structure=tuple(np.abs(rng.standard_normal(STRUCTURE)).tolist()),
            layout=f"layout-{job.number % 97}",
            num_parameters=100_000,
            flops_per_token=2.7e5 * math.exp(0.1 * float(rng.standard_normal())),
            state_bytes=6_400,
        )


class HostedJudge(Judge):
    """As its actor hosts it."""

    async def assess(self, *told: Any, **named: Any) -> Verdict:
        *others, horizon = told
        return await super().assess(*others, horizon=horizon, **named)


class SimulatedCrew:
    """What `orchestrator.steps.Steps` asks of a `Crew`."""

    def __init__(self, world: World, purse: Purse, engines: Engines, num_gates: int, stopwatch: Stopwatch) -> None:
        settings, meter = world.settings, world.meter
        self.proposer = SimulatedProposer(world, stopwatch)
        proposers = dict.fromkeys(settings.arms.drawn, self.proposer)
        self.gates = [SimulatedGate(world, stopwatch) for _ in range(num_gates)]
        self.examiners = Examiners([Handle(gate, meter, OUTSIDE) for gate in self.gates])
        self.ledger = Handle(purse, meter, "ledger")
        runner = EngineRunner(
            engine="engine",
            ledger=Handle(purse, meter, "ledger", sent=False),
            settings=settings,
            corpus="",  # nothing reads one
            find=lambda name, generation: (generation, engine),
        )
        engine = Handle(engines, meter, "engine", sent=False)
        self.engineer = Handle(Engineer(runner, proposers), meter, "engineer")
        self._researcher = Handle(Researcher(proposers), meter, "researcher")
        self._judge = Handle(HostedJudge(settings.fitness), meter, "judge")
        self._analyst = Handle(Analyst(), meter, "analyst")

    async def researcher(self) -> Handle:
        return self._researcher

    async def judge(self) -> Handle:
        return self._judge

    async def analyst(self) -> Handle:
        return self._analyst

    async def track(self, candidate: Candidate, trial: Trial, curve: Sequence[Metric]) -> None:
        """W&B is written by an actor of its own, and nobody waits for it."""

    def trial_finished(self) -> None:
        """There is no engine to be rebuilt."""
