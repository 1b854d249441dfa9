"""The measuring of one candidate, from a Ray worker or a command: children work in turn, this side holds the clock.

Figures of time are the parent's: from a request to its answer, over what was done in between. That what was asked for
has been done is the candidate's process's word, and so are memory, state and FLOPs: telemetry, never a term of a score.
"""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace

from cognition.records import Efficiency, FailureKind, Trial, TrialStatus
from models.commands.machine import cpu_name
from models.efficiency.settings import EfficiencySettings
from models.efficiency.timing import paired_ratio, timing
from models.sandbox import wire
from models.sandbox.exam import source_problem
from models.sandbox.parent import Child, ForkServer, SandboxError
from models.sandbox.sealed import TrialError, answering, expect
from models.sandbox.wire import Json
from models.slots import published_source, slot_named
from models.steady_clock import SteadyClock
from models.trial_job import TrialJob

_PARTS = ("prefill", "train", "decode")
_WARM_UPS = 3  # of one each, before it is known how many make a block; then one block
_MOST_TIMES = 1 << 14
_FOR_NO_FAULT = (FailureKind.worker_died, FailureKind.killed, FailureKind.cancelled)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """One side's repeats of one part, each in seconds of one thing, and the largest memory until then."""

    repeats_s: Sequence[float]
    peak_bytes: int


class EfficiencyRun:
    """A measuring under way, hosted like a trial. `advance` belongs to one thread; `cancel` may be called from any."""

    def __init__(self, job: TrialJob, server: ForkServer) -> None:
        """`job` says by its `efficiency` what is measured; its seed, data and pace are of no account."""
        assert job.efficiency is not None, "a job that trains is a TrialRun's"
        self._job, self._server = job, server
        self._settings: EfficiencySettings = job.efficiency
        self._lock = threading.Lock()
        self._children: list[Child] = []
        self._cancelled = False
        self._clock = SteadyClock()
        self._started_at = self._clock.now()
        self._deadline = math.inf
        self.taking_up = False
        self.rows: tuple[Efficiency, ...] = ()

    @property
    def started_at(self) -> float:
        """Seconds since the epoch when it took its slot, which is when it was made."""
        return self._started_at

    def advance(self) -> Trial:
        """Measure at every length; then `rows` has a row for each, and a Trial without a score says how it ended.

        What a candidate cannot do is a row that says so. Raises SandboxError when no fork server can be started.
        """
        self._server.start()
        self._deadline = time.monotonic() + self._settings.deadline_s
        failure, detail = None, ""
        try:
            if problem := source_problem(self._job.source):
                raise TrialError(FailureKind.error, problem)
            for length in self._settings.lengths_at(self._job.stage):
                self.rows = (*self.rows, self._at(length))
        except TrialError as error:
            failure, detail, self.rows = error.kind, error.detail, ()
        job, finished_at = self._job, self._clock.now()
        return Trial(
            trial_id=job.trial_id,
            candidate_id=job.candidate_id,
            stage=job.stage.name,
            seed=job.seed,
            split=job.stage.split,
            status=TrialStatus.finished if failure is None else TrialStatus.failed,
            failure=failure,
            detail=detail,
            slot_s=finished_at - self._started_at,
            started_at=self._started_at,
            finished_at=finished_at,
            worker=f"{socket.gethostname()}:{os.getpid()}",
        )

    def cancel(self) -> None:
        """End it now."""
        with self._lock:
            self._cancelled, children = True, list(self._children)
        for child in children:
            child.kill()

    def stop(self, reason: str) -> None:
        """No policy stops what does not train."""
        self.cancel()

    def _at(self, length: int) -> Efficiency:
        job = self._job
        chosen = slot_named(job.slot)
        reference = published_source(job.slot, chosen.reference)
        batch_size = max(1, job.stage.batch_size // job.num_processes * job.stage.length // length)
        row = Efficiency(
            candidate_id=job.candidate_id,
            stage=job.stage.name,
            length=length,
            device=job.device,
            measured_at=self._clock.now(),
            machine=cpu_name() if job.device == "cpu" else "",
            precision=job.stage.recipe.precision,
            batch_size=batch_size,
            reference=chosen.reference,
            num_repeats=self._settings.repeats,
        )
        # The reference first: where it does not run at this length, the candidate is measured alone.
        with ExitStack() as stack:
            ours: _Side | None = None
            theirs: _Side | None = None
            try:
                if job.source != reference:
                    theirs = stack.enter_context(self._side(reference, length, batch_size))
            except TrialError as error:
                self._blamed(error)
                row = replace(row, detail=f"without {chosen.reference}: {error.detail}")
            try:
                ours = stack.enter_context(self._side(job.source, length, batch_size))
                row = replace(
                    row, num_parameters=ours.num_parameters, memory=ours.memory, machine=ours.gpu or row.machine
                )
                for part in _PARTS:
                    row, theirs = self._measured(row, part, ours, theirs)
                return replace(row, flops_per_token=ours.flops_per_token())
            except TrialError as error:
                self._blamed(error)
                return replace(row, detail=error.detail)

    def _measured(
        self, row: Efficiency, part: str, ours: _Side, theirs: _Side | None
    ) -> tuple[Efficiency, _Side | None]:
        """The row with one part more; a reference that breaks at it takes no further part."""
        our, their = self._in_turn(part, ours, theirs)
        found = timing(our.repeats_s)
        ratio = None if their is None else paired_ratio(our.repeats_s, their.repeats_s)
        if theirs is not None and their is None:
            row = replace(row, detail=f"{part} without {row.reference}, which failed at it")
            theirs = None
        if part == "train":
            row = replace(
                row,
                train_tokens_s=row.batch_size * row.length / found.median_s,
                train_spread=found.spread,
                train_ratio=ratio,
                train_peak_bytes=our.peak_bytes,
            )
        elif part == "prefill":
            row = replace(
                row,
                prefill_s=found.median_s,
                prefill_spread=found.spread,
                prefill_ratio=ratio,
                prefill_peak_bytes=our.peak_bytes,
            )
        else:
            row = replace(
                row,
                decode_s=found.median_s,
                decode_spread=found.spread,
                decode_ratio=ratio,
                decode_form=ours.form,
                state_bytes=ours.state_bytes,
            )
        return row, theirs

    def _in_turn(self, part: str, ours: _Side, theirs: _Side | None) -> tuple[_Part, _Part | None]:
        """Repeats of both, alternating who is first."""
        if theirs is not None:
            try:
                theirs.begin(part, self._settings.block_s)
            except TrialError as error:
                self._blamed(error)
                theirs = None
        ours.begin(part, self._settings.block_s)
        sides = [ours] if theirs is None else [ours, theirs]
        repeats_s: list[list[float]] = [[] for _ in sides]
        for repeat in range(self._settings.repeats):
            for place in range(len(sides)) if repeat % 2 == 0 else reversed(range(len(sides))):
                repeats_s[place].append(sides[place].block(part))
        parts = [_Part(repeats_s=each, peak_bytes=side.peak_bytes) for each, side in zip(repeats_s, sides, strict=True)]
        return parts[0], parts[1] if theirs is not None else None

    def _blamed(self, error: TrialError) -> None:
        """Raise what says nothing about who is measured."""
        if self._cancelled:
            raise TrialError(FailureKind.cancelled, "cancelled") from error
        if error.kind in _FOR_NO_FAULT:
            raise error

    @contextmanager
    def _side(self, source: str, length: int, batch_size: int) -> Iterator[_Side]:
        job = self._job
        told: dict[str, Json] = {
            "source": source,
            "slot": job.slot,
            "stage": asdict(job.stage),
            "length": length,
            "batch_size": batch_size,
            "device": job.device,
            "card_share": job.card_share / 2,  # each of the two
        }
        with self._spawn("measure", told) as child:
            yield _Side(child)

    @contextmanager
    def _spawn(self, task: str, body: Mapping[str, Json]) -> Iterator[Child]:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TrialError(FailureKind.timeout, f"efficiency.deadline_s of {self._settings.deadline_s:g} s is over")
        try:
            child = self._server.spawn(task, body, deadline_s=left)
        except (SandboxError, wire.WireError) as error:
            raise TrialError(FailureKind.worker_died, f"{task!r} could not be started: {error}") from error
        with child:
            with self._lock:
                cancelled = self._cancelled
                self._children.append(child)
            try:
                if cancelled:
                    raise TrialError(FailureKind.cancelled, "cancelled")
                yield child
            finally:
                with self._lock:
                    self._children.remove(child)


class _Side:
    """One of the two that are measured in turn."""

    def __init__(self, child: Child) -> None:
        self._child = child
        with answering(child, "measure"):
            ready = expect(child, "ready")
            self.num_parameters, self.memory = ready.integer("num_parameters"), ready.text("memory", limit=20)
            self.gpu = ready.text("gpu", limit=100)
        self.form, self.peak_bytes = "", 0
        self.state_bytes: int | None = None
        self._times = 1

    def ask(self, kind: str, answer: str, times: int | None = None) -> wire.Message:
        with answering(self._child, f"measure: {kind}"):
            self._child.send(kind, None if times is None else {"times": times})
            return expect(self._child, answer)

    def flops_per_token(self) -> float | None:
        counted = self.ask("count", "counted")
        with answering(self._child, "measure"):
            return counted.optional_real("flops_per_token")

    def begin(self, part: str, block_s: float) -> None:
        """Warm up, and find how many make a block."""
        self.ask("fresh", "done")
        if part == "decode":
            primed = self.ask("prime", "primed")
            with answering(self._child, "measure"):
                self.form, self.state_bytes = primed.text("form", limit=20), primed.optional_integer("state_bytes")
        self._times, once_s = 1, 0.0
        for _ in range(_WARM_UPS):
            once_s = self.block(part)
        self._times = max(1, min(_MOST_TIMES, math.ceil(block_s / once_s)))
        self.block(part)

    def block(self, part: str) -> float:
        """Seconds of one."""
        if part == "decode":
            self.ask("rewind", "done")
        begun = time.perf_counter()
        done = self.ask(part, "done", self._times)
        took_s = time.perf_counter() - begun
        with answering(self._child, "measure"):
            self.peak_bytes = done.integer("peak_bytes")
        return took_s / self._times
