"""A simulated campaign from its settings to its figures: what `orchestrator.campaign` wires to Ray, on a clock."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
from rich.console import Console

from agents.llm.prices import prices_of
from agents.purse import Purse, PurseState
from cognition.records import Record, Trial, TrialStatus
from orchestrator.books import Books
from orchestrator.charges import Starts, look_again_s
from orchestrator.cognition_base import CognitionBase
from orchestrator.config import Settings, compose, settings_from
from orchestrator.errors import UsageError
from orchestrator.flow import FIXED_LOOK_AHEAD, Flow
from orchestrator.look_ahead import LookAhead
from orchestrator.loop import research
from orchestrator.rows import FINISHED, Rows, event
from orchestrator.simulation.clock import VirtualClock
from orchestrator.simulation.clock import run as run_on
from orchestrator.simulation.costs import Costs
from orchestrator.simulation.crew import SimulatedCrew, Stopwatch
from orchestrator.simulation.curves import Curves
from orchestrator.simulation.engines import Engines, SimulatedEngine, Usage, World
from orchestrator.simulation.figures import POLICIES, WATCH, Figures, Sample, figures_of
from orchestrator.simulation.meter import DRIVER, Meter
from orchestrator.simulation.store import SimulatedStore
from orchestrator.steps import Steps
from orchestrator.stopping import Ending, Halt, nearly_done, users_error
from orchestrator.terminal import Terminal

_EPOCH = 1_700_000_000.0  # when simulated campaigns begin
_SLOTS_A_GATE = 16  # as orchestrator.cluster has it
_NUM_SAMPLES = 50
_LOOKS = 10
_CPUS_A_GPU = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is simulated. Raises UsageError for figures that are none."""

    gpus: int
    candidates: int
    trial_s: float = 900.0  # of exploration, in the middle
    climb_factor: float = 4.0  # a trial of a higher stage takes so many times that
    engines: int | None = None  # None: as many as it takes
    seed: int = 0
    overrides: tuple[str, ...] = ()  # of the configuration
    costs: Costs = field(default_factory=Costs)

    def __post_init__(self) -> None:
        for name in ("gpus", "candidates", "trial_s", "climb_factor"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} is {getattr(self, name)}: use a number above zero")
        for key, option in (("budget.candidates", "--candidates"), ("seed", "--seed")):
            if given := next((text for text in self.overrides if text.lstrip("+").startswith(f"{key}=")), None):
                raise UsageError(f"{given} says something else than {option}: use {option} alone")
        if self.engines is not None and not 1 <= self.engines <= self.gpus:
            raise UsageError(f"engines is {self.engines}: use 1 to {self.gpus}, a GPU each at least")

    def settings(self) -> Settings:
        """The campaign's configuration: scale `cpu`, a GPU for each trial, no language model."""
        found = settings_from(
            compose(
                [
                    *("+campaign=linear_attn", "scale=cpu", "pools=cluster", "tracking=none", "llm=none"),
                    *("pools.explore={cpus: 1, gpus: 1}", "pools.verify={cpus: 1, gpus: 1}", f"seed={self.seed}"),
                    f"budget.candidates={self.candidates}",
                    "checkpoints.every_s=null",
                    f"flow.most_in_flight={4 * self.gpus + 64}",
                    *self.overrides,
                ]
            ),
            environment={},
        )
        stages = [
            replace(stage, expected_s=self.takes_s(place), deadline_s=4 * self.takes_s(place))
            for place, stage in enumerate(found.scale.stages)
        ]
        unmeasured = replace(found.efficiency, measure=False)  # nothing runs here that could be timed
        return replace(found, scale=replace(found.scale, stages=tuple(stages)), efficiency=unmeasured)

    def takes_s(self, place: int) -> float:
        """Seconds that a trial of a stage takes in the middle; `place`: of the stage, from the bottom."""
        return self.trial_s * self.climb_factor**place


def simulate(wish: Wish) -> Figures:
    """Run it. The same wish gives the same figures, apart from processor time and memory.

    Raises:
        UsageError: something in the configuration.
    """
    clock = VirtualClock(_EPOCH)
    simulation = _Simulation(wish, clock)
    return run_on(clock, simulation.run())


class _Simulation:
    """The composition root."""

    def __init__(self, wish: Wish, clock: VirtualClock) -> None:
        self._wish, self._clock = wish, clock
        self._settings = settings = wish.settings()
        self._meter = Meter()
        self._process = psutil.Process()
        self._stopwatch = Stopwatch()
        self._samples: list[Sample] = []
        takes = {stage.name: wish.takes_s(place) for place, stage in enumerate(settings.scale.stages)}
        self._world = World(
            settings=settings,
            costs=wish.costs,
            curves=Curves(),
            clock=clock,
            meter=self._meter,
            usage=Usage(clock),
            loads=takes.__getitem__,
        )
        self._halt = Halt()
        self._ending: Ending | None = None
        self.stopped_by: str | None = None

    async def run(self) -> Figures:
        settings, wish, clock = self._settings, self._wish, self._clock
        num_engines = wish.engines or wish.costs.engines_needed(wish.candidates, wish.gpus / wish.trial_s)
        num_engines = min(num_engines, wish.gpus)
        engines = Engines(
            [
                SimulatedEngine(self._world, {"GPU": gpus, "CPU": gpus * _CPUS_A_GPU})
                for gpus in (
                    wish.gpus // num_engines + (place < wish.gpus % num_engines) for place in range(num_engines)
                )
            ]
        )
        num_gates = max(1, wish.gpus // _SLOTS_A_GATE)
        self._terminal = Terminal(Console(file=io.StringIO(), width=140), now=clock.now)
        self._store = SimulatedStore(wish.costs, clock, self._meter)
        first = settings.ladder.first
        self._rows = rows = Rows(Path("simulated"), self._told, first.name, new=self._store, clock=clock.seconds)
        look_ahead: int | LookAhead = settings.flow.look_ahead or FIXED_LOOK_AHEAD
        if not settings.deterministic:
            adapting = LookAhead(wish.gpus, first.expected_s, settings.flow.most_in_flight)
            look_ahead = settings.flow.look_ahead or adapting
        self._flow = flow = Flow(
            len(settings.campaign.founders),
            look_ahead,
            deterministic=settings.deterministic,
            num_desks=num_gates if wish.costs.proposals_at_once == 1 else settings.flow.most_in_flight,  # as for models
            clock=clock.seconds,
        )
        purse = Purse(
            settings.budget.limits,
            settings.llm,
            prices_of(settings.llm),
            seed=settings.seed,
            state=PurseState(),
            clock=clock.seconds,
            now=clock.now,
        )
        self._crew = crew = SimulatedCrew(self._world, purse, engines, num_gates, self._stopwatch)
        self._engines = engines
        books = Books(crew.ledger, rows)
        books.start()
        base = CognitionBase(settings.cognition, rows, deterministic=settings.deterministic)
        steps = Steps(settings, rows, flow, crew, books, base, self._halt)  # type: ignore[arg-type]
        self._view: Any = SimpleNamespace(
            settings=settings,
            population=rows.population,
            cluster=SimpleNamespace(num_slots=wish.gpus),
            flow=flow,
            started_at=clock.now(),
            elapsed_s=0.0,
        )
        self._sample()
        main = asyncio.ensure_future(research(steps))
        watch = asyncio.ensure_future(self._watch(main))
        try:
            await main
        except asyncio.CancelledError:
            self.stopped_by = self._halt.reason
            if self.stopped_by is None:
                raise
        except BaseExceptionGroup as group:
            raise users_error(group) from group
        finally:
            watch.cancel()
            rows.hurry()
            await books.end()
        if self.stopped_by is None:
            rows.record(event(FINISHED, detail=str(settings.budget.candidates)))
        await rows.on_disk()
        self._sample()
        return self._figures(num_gates)

    async def _watch(self, main: asyncio.Future[None]) -> None:
        """The campaign's watch, as far as it is not about processes. One look in ten is taken, and counts ten times."""
        starts = Starts(self._settings, self._rows.population)
        wall_s = self._settings.budget.wall_s
        while not main.done():
            with self._meter.of("engine"):
                running = self._engines.running()
            with self._meter.of(WATCH):
                self._rows.record(*starts.new(running, self._clock.now()))
                self._view.elapsed_s = self._clock.seconds()
                self._terminal.tick(self._view, running)
                self._emptied()
            self._flow.look_again()
            if wall_s is not None and self._clock.seconds() > wall_s:
                self._halt.ask(f"budget.wall={self._settings.budget.wall} is used up")
            if self._halt.reason is not None and self._ended(running):
                main.cancel()
                return
            await asyncio.sleep(_LOOKS * look_again_s(len(running)))

    def _ended(self, running: Sequence[Any]) -> bool:
        now, population = self._clock.seconds(), self._rows.population
        if self._ending is None:
            self._engines.drain()
            scale, grace_s = self._settings.scale, self._settings.flow.grace_s
            means = {stage.name: population.tallies.mean_slot_s(stage.name) for stage in scale.stages}
            self._ending = Ending(nearly_done(running, scale, means, grace_s), grace_s, now)
        return self._ending.over(population, 0, now)

    def _told(self, record: Record) -> None:
        """A row that is new."""
        self._terminal.recorded(self._view, record)
        if isinstance(record, Trial):
            self._stopwatch.add(f"wait for a slot ({record.stage})", max(0.0, record.started_at - record.queued_at))
            self._stopwatch.add(f"train ({record.stage})", record.slot_s)
        step = max(1, self._wish.candidates // _NUM_SAMPLES)
        if self._flow.num_closed >= step * len(self._samples):
            self._sample()

    def _emptied(self) -> None:
        """What was printed is forgotten."""
        written = self._terminal.console.file
        assert isinstance(written, io.StringIO)
        written.seek(0)
        written.truncate()

    def _sample(self) -> None:
        self._samples.append(
            Sample(
                candidates=self._flow.num_closed,
                driver_s=self._meter.cpu_s(DRIVER),
                memory_bytes=self._process.memory_info().rss,
            )
        )

    def _figures(self, num_gates: int) -> Figures:
        trials = self._rows.population.trials()
        proposer = self._crew.proposer
        cpu_s = {who: self._meter.cpu_s(who) for who in (DRIVER, "ledger", "engineer", "judge", "analyst")}
        cpu_s[POLICIES] = self._meter.cpu_s("engine") / len(self._engines.engines)
        cpu_s[WATCH] = _LOOKS * self._meter.cpu_s(WATCH)
        return figures_of(
            gpus=self._wish.gpus,
            trial_s=self._wish.trial_s,
            elapsed_s=self._clock.seconds(),
            supplied_s=proposer.last_asked_s,
            gpu_s=self._world.usage.gpu_s,
            supplied_gpu_s=proposer.gpu_s_then,
            candidates=max(0, self._flow.num_closed - len(self._settings.campaign.founders)),
            trials={
                stage.name: sum(trial.stage == stage.name for trial in trials) for stage in self._settings.scale.stages
            },
            finished=sum(trial.status is TrialStatus.finished for trial in trials),
            stopped=sum(trial.status is TrialStatus.stopped for trial in trials),
            failed=sum(trial.status is TrialStatus.failed for trial in trials),
            trials_begun=sum(engine.num_started for engine in self._engines.engines),
            stages_s=self._stopwatch.means(),
            engines=tuple((engine.num_started, engine.busy_s) for engine in self._engines.engines),
            propose_busy_s=proposer.server.busy_s / proposer.server.at_once,
            gate_busy_s=sum(gate.busy_s for gate in self._crew.gates) / num_gates,
            cpu_s=cpu_s,
            store=self._store,
            messages=self._meter,
            samples=tuple(self._samples),
            stopped_by=self.stopped_by,
        )
