"""The board of the trial engine: orders waiting for a slot, and what is known of those under way.

It lives beside the Tuner, in the same process, and is never pickled. Threads: the Tuner's, and the actor's.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from agents.protocols import Trained
from cognition.records import EarlyStop, Efficiency, FailureKind, Metric, Trial, TrialStatus
from models.scale import TEXT
from models.trial import TrialJob
from orchestrator.pools import Pool
from orchestrator.sharing import Shares

DONE_AGAIN = (FailureKind.worker_died, FailureKind.killed)  # perhaps not the candidate's fault: asked for once more
_MOST_KEPT = 256
_LOOK_AGAIN_S = 0.5  # while nothing fits: nodes may have come


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A training or a measuring that is wanted, where, and what may be known beside it."""

    job: TrialJob
    pool: str
    number: int = 0  # the candidate's
    horizon: int | None = None  # the highest number whose curves may count against it; None: all


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningTrial:
    """A trial that holds a slot, as the progress view shows it."""

    trial_id: str
    stage: str
    step: int  # of the task
    loss: float | None
    elapsed_s: float
    task: str = ""  # what it trains: the canary, the text, a probe; "" before the first point
    started_at: float = 0.0  # seconds since the epoch, the same as long as it is the same attempt
    pool: str = ""
    worker: str = ""


@dataclass(slots=True)
class _UnderWay:
    """What is known of an order that was handed out."""

    order: Order
    handed_at: float  # monotonic
    started_at: float = 0.0  # seconds since the epoch; 0: no host has taken it yet
    since: float = 0.0  # monotonic, of the same moment
    worker: str = ""
    curve: list[Metric] = dataclasses.field(default_factory=list)


class JobBoard:
    """Orders by pool, whose turn it is, and the futures of all that are not finished."""

    def __init__(
        self,
        pools: Mapping[str, Pool],
        most: int | None = None,
        capacity: Callable[[], Mapping[str, float]] = dict,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`most`: trials at once over all pools; `capacity`: what the cluster has in all, by Ray's names.

        `clock`: seconds that only go forward; `now`: seconds since the epoch, for the rows.
        """
        self._clock, self._now = clock, now
        self._condition = threading.Condition()
        self._shares = Shares(pools, most)
        self._capacity = capacity
        self._waiting: dict[str, deque[str]] = {name: deque() for name in pools}
        self._orders: dict[str, Order] = {}
        self._futures: dict[str, concurrent.futures.Future[Trained]] = {}
        self._queued_at: dict[str, float] = {}
        self._under_way: dict[str, _UnderWay] = {}
        self._decided: dict[str, EarlyStop] = {}  # by a stopping policy
        self._kept: dict[str, Trained] = {}  # the latest answers
        self._draining = False
        self._closed = False

    def submit(self, order: Order) -> concurrent.futures.Future[Trained]:
        """Queue an order; asking again for a trial that is not finished gives the same future."""
        trial_id = order.job.trial_id
        with self._condition:
            if self._closed:
                raise RuntimeError(f"the trial engine is closed: {trial_id} was not queued")
            if order.pool not in self._waiting:
                raise ValueError(f"{trial_id} asks for pool {order.pool!r}; there are {', '.join(self._waiting)}")
            if trial_id in self._kept:  # its answer did not reach whoever asked: they were killed while they waited
                again: concurrent.futures.Future[Trained] = concurrent.futures.Future()
                again.set_result(self._kept[trial_id])
                return again
            if trial_id not in self._futures:
                self._orders[trial_id] = order
                self._futures[trial_id] = concurrent.futures.Future()
                self._queued_at[trial_id] = self._now()
                self._waiting[order.pool].append(trial_id)
                self._condition.notify_all()
            return self._futures[trial_id]

    def take(self, *, block: bool) -> Order | None:
        """The next order, or None. With `block` it waits for one: Tune would otherwise sleep a second between polls."""
        with self._condition:
            while True:
                if self._closed:
                    return None
                asking = [name for name, waiting in self._waiting.items() if waiting]
                if asking and not self._draining:
                    self._shares.has(self._capacity())
                    pool = self._shares.next(asking)
                    if pool is not None:
                        return self._hand_out(pool)
                if not block:
                    return None
                self._condition.wait(_LOOK_AGAIN_S if asking else None)

    def _hand_out(self, pool: str) -> Order:
        order = self._orders[self._waiting[pool].popleft()]
        self._shares.take(pool, order.job.stage.expected_s)
        self._under_way[order.job.trial_id] = _UnderWay(order=order, handed_at=self._clock())
        return order

    def started(self, trial_id: str, worker: str, started_at: float) -> None:
        """A host has taken it, at that time by its own clock, as its row will say."""
        with self._condition:
            if (known := self._under_way.get(trial_id)) is not None:
                known.started_at, known.since, known.worker = started_at, self._clock(), worker

    def progressed(self, metric: Metric) -> None:
        with self._condition:
            if (known := self._under_way.get(metric.trial_id)) is not None:
                known.curve.append(metric)

    def finish(self, trial: Trial, efficiency: tuple[Efficiency, ...] = ()) -> None:
        """Resolve the trial's future; what only the board knows is filled in here."""
        with self._condition:
            known = self._under_way.pop(trial.trial_id, None)
            future = self._futures.pop(trial.trial_id, None)
            self._orders.pop(trial.trial_id, None)
            queued_at = self._queued_at.pop(trial.trial_id, 0.0)
            early_stop = self._decided.get(trial.trial_id)  # kept: a lost trial may be asked for again
            if known is not None:
                took_s = self._clock() - known.handed_at
                self._shares.give_back(known.order.pool, known.order.job.stage.expected_s, took_s)
            trial = dataclasses.replace(trial, queued_at=queued_at)
            curve = tuple(known.curve) if known is not None else ()
            trained = Trained(trial=trial, curve=curve, early_stop=early_stop, efficiency=efficiency)
            if trial.failure not in DONE_AGAIN:
                self._kept[trial.trial_id] = trained
                if len(self._kept) > _MOST_KEPT:
                    del self._kept[next(iter(self._kept))]
            self._condition.notify_all()
        if future is not None and not future.done():  # whoever asked may have turned away
            future.set_result(trained)

    def lost(self, trial_id: str, detail: str) -> None:
        """The host of this trial ended without a word."""
        self._end(trial_id, TrialStatus.failed, FailureKind.worker_died, detail)

    def stopped(self, trial_id: str, detail: str) -> None:
        """A policy has ended it."""
        self._end(trial_id, TrialStatus.stopped, FailureKind.unpromising, detail)

    def _end(self, trial_id: str, status: TrialStatus, failure: FailureKind, detail: str) -> None:
        """The row of a trial whose host has nothing to say: from what was seen of it."""
        known = self._under_way[trial_id]
        job, now = known.order.job, self._now()
        text = [metric for metric in known.curve if metric.task == TEXT]
        held_s = self._clock() - known.since if known.since else 0.0
        began = known.started_at or now
        self.finish(
            Trial(
                trial_id=trial_id,
                candidate_id=job.candidate_id,
                stage=job.stage.name,
                seed=job.seed,
                split=job.stage.split,
                status=status,
                failure=failure,
                detail=detail,
                train_loss=text[-1].loss if text else None,
                steps=text[-1].step if text else 0,
                tokens=text[-1].tokens if text else 0,
                train_s=known.curve[-1].elapsed_s - known.curve[0].elapsed_s if known.curve else 0.0,
                slot_s=held_s,
                started_at=began,
                first_step_at=began + known.curve[0].elapsed_s if known.curve else 0.0,
                finished_at=began + held_s,
                worker=known.worker,
            )
        )

    def decided(self, early_stop: EarlyStop) -> None:
        """What a stopping policy says to a trial under way, or said in an earlier start."""
        with self._condition:
            self._decided[early_stop.trial_id] = early_stop

    def hopeless(self, trial_id: str) -> str | None:
        """Why a policy ends this trial; None where none does, or it is a control that is let run on."""
        with self._condition:
            decided = self._decided.get(trial_id)
            return decided.detail if decided is not None and not decided.spared else None

    def running(self) -> tuple[RunningTrial, ...]:
        """What holds a slot, the oldest first."""
        with self._condition:
            now = self._clock()
            return tuple(_shown(known, now) for known in self._under_way.values() if known.started_at)

    def drain(self) -> None:
        """Hand out nothing more; what is under way goes on."""
        with self._condition:
            self._draining = True

    def close(self) -> None:
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    @property
    def closed(self) -> bool:
        return self._closed


def _shown(known: _UnderWay, now: float) -> RunningTrial:
    last = known.curve[-1] if known.curve else None
    return RunningTrial(
        trial_id=known.order.job.trial_id,
        stage=known.order.job.stage.name,
        pool=known.order.pool,
        task=last.task if last else "",
        step=last.step if last else 0,
        loss=last.loss if last else None,
        started_at=known.started_at,
        elapsed_s=now - known.since,
        worker=known.worker,
    )
