"""Trial engines without Ray: the real board and the real stopping policies, and trials that only pass their time.

An engine starts one trial after another, each for what that was measured to take; results and ends are in that figure.
What it cannot show: placement on nodes, hosts that start anew, workers that die.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from agents.protocols import Trained
from cognition.records import FailureKind, Metric, Trial, TrialStatus
from models.scale import TEXT
from orchestrator.board import JobBoard, Order, RunningTrial
from orchestrator.config import Settings
from orchestrator.early_stopping.board import StoppingBoard
from orchestrator.simulation.clock import VirtualClock
from orchestrator.simulation.costs import Costs
from orchestrator.simulation.curves import Curves
from orchestrator.simulation.meter import OUTSIDE, Meter


def seeded(seed: int, name: str) -> np.random.Generator:
    """A generator of its own for everything that has a name."""
    return np.random.default_rng(int.from_bytes(hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()))


class Usage:
    """GPUs held over time."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._held, self._since, self._gpu_s = 0.0, 0.0, 0.0

    def change(self, gpus: float) -> None:
        self._gpu_s, self._since = self.gpu_s, self._clock.seconds()
        self._held += gpus

    @property
    def gpu_s(self) -> float:
        """GPU-seconds for which trials held one, so far."""
        return self._gpu_s + self._held * (self._clock.seconds() - self._since)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What all engines of a simulation share."""

    settings: Settings
    costs: Costs
    curves: Curves
    clock: VirtualClock
    meter: Meter
    usage: Usage
    loads: Callable[[str], float]  # seconds that a trial of a stage takes in the middle


class SimulatedEngine:
    """Tune's part: it takes orders from its board, begins trials, and tells board and policies what they report."""

    def __init__(self, world: World, capacity: Mapping[str, float]) -> None:
        self._world, self._clock, self._meter = world, world.clock, world.meter
        settings = world.settings
        self.capacity = dict(capacity)
        self.board = JobBoard(
            settings.pools, None, lambda: self.capacity, clock=world.clock.seconds, now=world.clock.now
        )
        self._stopping = StoppingBoard(
            {name: stage.stopping for name, stage in settings.stages.items()},
            len(settings.campaign.founders),
            self.board.decided,
            now=world.clock.now,
        )
        self._starting = False
        self.busy_s, self.num_started, self.num_open = 0.0, 0, 0

    async def run(self, order: Order) -> Trained:
        future = self.board.submit(order)
        answered = asyncio.get_running_loop().create_future()
        future.add_done_callback(lambda done: None if answered.done() else answered.set_result(done.result()))
        self.num_open += 1
        self._serve()
        try:
            trained: Trained = await answered
            return trained
        finally:
            self.num_open -= 1

    def _serve(self) -> None:
        """Begin the next trial that there is room for, unless one is being begun."""
        if self._starting or (order := self.board.take(block=False)) is None:
            return
        costs = self._world.costs
        took_s = costs.engine_s + costs.engine_growth_s * self.num_started
        self.busy_s += took_s
        self.num_started += 1
        self._starting = True
        self._after(took_s, self._begin, order)

    def _begin(self, order: Order) -> None:
        self._starting = False
        _SimulatedTrial(order, self, self._world, self._stopping).begin()
        self._serve()

    def ended(self) -> None:
        """A slot is free."""
        self._serve()

    def _after(self, seconds: float, then: Callable[..., None], *arguments: object) -> None:
        asyncio.get_running_loop().call_later(seconds, self._metered, then, *arguments)

    def _metered(self, then: Callable[..., None], *arguments: object) -> None:
        with self._meter.of("engine"):
            then(*arguments)


class _SimulatedTrial:
    """One trial: its time, its points, its end."""

    def __init__(self, order: Order, engine: SimulatedEngine, world: World, stopping: StoppingBoard) -> None:
        self._order, self._engine, self._world, self._stopping = order, engine, world, stopping
        job, costs = order.job, world.costs
        with world.meter.of(OUTSIDE):
            founder = order.number < len(world.settings.campaign.founders)
            seed, own = world.settings.seed, seeded(world.settings.seed, job.trial_id)
            rng = seeded(seed, f"{job.candidate_id}-{job.stage.name}")
            quality = world.curves.quality(seeded(seed, job.candidate_id), founder=founder)
            self._final = world.curves.final(quality, own)
            self._losses = world.curves.points(self._final, own)
            self._takes_s = world.loads(job.stage.name) * math.exp(costs.spread * float(rng.standard_normal()))
            self._fails = not founder and float(rng.random()) < costs.failed_share
        self._gpus = world.settings.pools[order.pool].gpus
        self._started_at = 0.0

    def begin(self) -> None:
        self._started_at = self._world.clock.now()
        self._world.usage.change(self._gpus)
        self._engine.board.started(self._order.job.trial_id, "simulated", self._started_at)
        self._next(0)

    def _next(self, index: int) -> None:
        """Wait for the next point, or for the end, which the sealed evaluation takes a twentieth of the time to."""
        shares = self._world.curves.shares
        share = 0.95 * shares[index] if index < len(shares) else 1.0
        left_s = self._started_at + share * self._takes_s - self._world.clock.now()
        then = self._point if index < len(shares) else self._end
        self._engine._after(max(0.0, left_s) + (self._world.costs.start_s if index == 0 else 0.0), then, index)

    def _point(self, index: int) -> None:
        order, job, board = self._order, self._order.job, self._engine.board
        step = max(1, round(self._world.curves.shares[index] * job.stage.steps))
        metric = Metric(
            trial_id=job.trial_id,
            task=TEXT,
            step=step,
            loss=self._losses[index],
            grad_norm=1.0,
            learning_rate=job.stage.learning_rate,
            tokens=step * job.stage.batch_size * job.stage.length,
            elapsed_s=self._world.clock.now() - self._started_at,
        )
        board.progressed(metric)
        hopeless = None
        if self._stopping.point(job, metric, order.number, order.horizon):
            hopeless = board.hopeless(job.trial_id)
        if hopeless is not None:
            self._world.usage.change(-self._gpus)
            board.stopped(job.trial_id, hopeless)
            self._engine.ended()
        else:
            self._next(index + 1)

    def _end(self, _: int) -> None:
        job, now = self._order.job, self._world.clock.now()
        took_s = now - self._started_at
        trial = Trial(
            trial_id=job.trial_id,
            candidate_id=job.candidate_id,
            stage=job.stage.name,
            seed=job.seed,
            split=job.stage.split,
            status=TrialStatus.failed if self._fails else TrialStatus.finished,
            failure=FailureKind.nonfinite if self._fails else None,
            detail="the loss is not a number" if self._fails else "",
            loss=None if self._fails else self._final,
            loss_stderr=None if self._fails else 0.03,
            benchmark=None if self._fails else 0.5,
            train_loss=self._losses[-1],
            steps=job.stage.steps,
            train_s=took_s,
            slot_s=took_s,
            started_at=self._started_at,
            first_step_at=self._started_at + self._world.costs.start_s,
            finished_at=now,
            worker="simulated",
        )
        self._world.usage.change(-self._gpus)
        self._stopping.ended(trial)
        self._engine.board.finish(trial)
        self._engine.ended()


class Engines:
    """Several engines, each with its share of the GPUs; an order goes to the one with the least to do."""

    def __init__(self, engines: Sequence[SimulatedEngine]) -> None:
        self.engines = tuple(engines)

    async def run(self, order: Order) -> Trained:
        return await min(self.engines, key=lambda engine: engine.num_open / engine.capacity["GPU"]).run(order)

    def running(self) -> tuple[RunningTrial, ...]:
        return tuple(trial for engine in self.engines for trial in engine.board.running())

    def drain(self) -> None:
        for engine in self.engines:
            engine.board.drain()
