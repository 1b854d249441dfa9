"""What a simulation comes to, and which part would stop it from growing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

GPUS, WATCH, POLICIES = "GPUs", "the driver's watch", "an engine's board and policies"
_FULL = 0.97  # of the GPU time: nothing else is in the way


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The driver at one moment."""

    candidates: int
    driver_s: float  # processor time so far
    memory_bytes: int  # resident, the simulated outside included


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLoad:
    """One trial engine."""

    num_trials: int
    busy: float  # share of the time in which it began trials


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Times are of the virtual clock unless they are processor time, which is measured."""

    gpus: int
    trial_s: float
    candidates: int
    trials: Mapping[str, int]  # by stage
    trials_begun: int
    finished: int
    stopped: int
    failed: int
    elapsed_s: float
    utilisation: float  # share of the GPU time that trials held, while there was something left to propose
    utilisation_to_the_end: float  # ... with the last trials, beside which GPUs stand idle
    candidates_per_s: float
    stages_s: Mapping[str, float]  # mean seconds of a candidate or trial
    engines: tuple[EngineLoad, ...]
    loads: Mapping[str, float]  # share of the time in which each part was busy
    commits_per_s: float
    rows_per_s: float
    store_bytes_per_s: float
    rows_per_commit: float
    driver_s: float  # processor seconds of the driver for each candidate
    driver_first_s: float  # ... over the first tenth that ends in the midst of the campaign
    driver_last_s: float  # ... over the last such tenth
    memory_bytes: int  # the most that was resident
    memory_each_bytes: float  # of it for each candidate
    message_bytes: Mapping[str, float]  # mean size of what the driver sends to each actor
    bottleneck: str
    stopped_by: str | None

    @property
    def growth(self) -> float:
        """How many times what a candidate takes of the driver grew from the first tenth in its midst to the last."""
        return self.driver_last_s / self.driver_first_s if self.driver_first_s > 0 else 1.0

    def reproducible(self) -> dict[str, Any]:
        """What the same wish gives again: all but processor time and memory."""
        measured = ("driver_s", "driver_first_s", "driver_last_s", "memory_bytes", "memory_each_bytes", "bottleneck")
        values = {name: getattr(self, name) for name in self.__slots__ if name not in measured}
        return values | {"loads": {name: load for name, load in self.loads.items() if name not in MEASURED}}


class Store(Protocol):
    """What was written."""

    num_commits: int
    num_rows: int
    commit_s: float

    @property
    def bytes(self) -> int: ...


class Messages(Protocol):
    """What was sent."""

    @property
    def message_bytes(self) -> Mapping[str, int]: ...

    @property
    def num_messages(self) -> Mapping[str, int]: ...


MEASURED = ("driver", "ledger", "engineer", "judge", "analyst", WATCH, POLICIES)  # loads that are processor time


def figures_of(
    *,
    gpus: int,
    trial_s: float,
    elapsed_s: float,
    supplied_s: float | None,
    gpu_s: float,
    supplied_gpu_s: float,
    candidates: int,
    trials: Mapping[str, int],
    trials_begun: int,
    finished: int,
    stopped: int,
    failed: int,
    stages_s: Mapping[str, float],
    engines: tuple[tuple[int, float], ...],
    propose_busy_s: float,
    gate_busy_s: float,
    cpu_s: Mapping[str, float],
    store: Store,
    messages: Messages,
    samples: tuple[Sample, ...],
    stopped_by: str | None,
) -> Figures:
    """Totals as rates and shares.

    Args:
        supplied_s: when the last candidate was asked for; None: the campaign ended before.
        supplied_gpu_s: the GPU time that trials had held by then.
    """
    whole = gpu_s / (gpus * elapsed_s) if elapsed_s > 0 else 0.0
    supplied = supplied_gpu_s / (gpus * supplied_s) if supplied_s else whole
    span_s = supplied_s or elapsed_s  # everything but the last trials happens in here
    loads = {
        GPUS: supplied,
        "proposing": propose_busy_s / span_s,
        "the gate": gate_busy_s / span_s,
        "the trial engine": max(busy_s for _, busy_s in engines) / span_s,
        "the store": store.commit_s / span_s,
    }
    loads |= {who: spent_s / span_s for who, spent_s in cpu_s.items()}
    loads[WATCH] = cpu_s[WATCH] / elapsed_s
    loads["driver"] += loads["the store"] + loads[WATCH]  # it waits while it commits
    first_s, last_s = _at_tenths(samples, gpus)
    return Figures(
        gpus=gpus,
        trial_s=trial_s,
        candidates=candidates,
        trials=dict(trials),
        trials_begun=trials_begun,
        finished=finished,
        stopped=stopped,
        failed=failed,
        elapsed_s=elapsed_s,
        utilisation=supplied,
        utilisation_to_the_end=whole,
        candidates_per_s=candidates / span_s,
        stages_s=dict(stages_s),
        engines=tuple(EngineLoad(num_trials=num, busy=busy_s / span_s) for num, busy_s in engines),
        loads=loads,
        commits_per_s=store.num_commits / elapsed_s,
        rows_per_s=store.num_rows / elapsed_s,
        store_bytes_per_s=store.bytes / elapsed_s,
        rows_per_commit=store.num_rows / max(1, store.num_commits),
        driver_s=(samples[-1].driver_s - samples[0].driver_s) / max(1, candidates),
        driver_first_s=first_s,
        driver_last_s=last_s,
        memory_bytes=max(sample.memory_bytes for sample in samples),
        memory_each_bytes=(samples[-1].memory_bytes - samples[0].memory_bytes) / max(1, candidates),
        message_bytes={who: messages.message_bytes[who] / num for who, num in messages.num_messages.items()},
        bottleneck=bottleneck_of(loads, gpus),
        stopped_by=stopped_by,
    )


def bottleneck_of(loads: Mapping[str, float], gpus: int) -> str:
    """The first part that would be in the way, in one sentence."""
    others = {name: load for name, load in loads.items() if name not in (GPUS, "the store", WATCH)}  # the driver's
    name, load = max(others.items(), key=lambda item: item[1])
    if loads[GPUS] >= _FULL:
        reach = f"it would be full at about {gpus / load:,.0f} GPUs" if load > 0 else "it has nothing to do"
        return f"The GPUs: {loads[GPUS]:.1%} of their time is used; next is {name}, busy for {load:.0%}: {reach}."
    if load >= 0.9:
        return f"{name[0].upper()}{name[1:]}: busy for {load:.0%} of the time, while GPUs are for {loads[GPUS]:.1%}."
    return (
        f"Nothing is full: GPUs are used for {loads[GPUS]:.1%} of their time, {name} for {load:.0%}; candidates are "
        "too few for the GPUs, or those in flight are (flow.most_in_flight, flow.look_ahead)."
    )


def _at_tenths(samples: tuple[Sample, ...], gpus: int) -> tuple[float, float]:
    """Processor seconds of the driver for a candidate, over the first tenth of them and the last in the midst.

    There candidates end while others are proposed: not so while the GPUs are filled for the first times, nor when the
    last trials come to their end. Where they are few for so many GPUs, the second tenth and the last are all there is.
    """
    most = samples[-1].candidates
    begin, end = 2 * gpus / most, 1 - gpus / most
    if end - begin < 0.3:
        begin, end = 0.1, 1.0

    def each(low: float, high: float) -> float:
        spans = [
            (later.driver_s - earlier.driver_s, later.candidates - earlier.candidates)
            for earlier, later in pairwise(samples[:-1])  # behind that, the last trials come to their end
            if later.candidates > earlier.candidates and low * most <= earlier.candidates < high * most
        ]
        num = sum(candidates for _, candidates in spans)
        return sum(seconds for seconds, _ in spans) / num if num else 0.0

    return each(begin, begin + 0.1), each(end - 0.1, end)


def in_words(figures: Figures) -> str:
    """What a person reads."""
    trials = ", ".join(f"{num:,} {stage}" for stage, num in figures.trials.items())
    engines = ", ".join(f"{engine.busy:.0%} ({engine.num_trials:,} trials)" for engine in figures.engines)
    stages = ", ".join(f"{stage} {seconds:,.2f} s" for stage, seconds in figures.stages_s.items())
    loads = ", ".join(f"{name} {load:.1%}" for name, load in figures.loads.items())
    messages = ", ".join(f"{who} {size / 1000:,.1f} kB" for who, size in figures.message_bytes.items())
    first_ms, last_ms = figures.driver_first_s * 1000, figures.driver_last_s * 1000
    told = {
        "GPUs": f"{figures.gpus:,}, used for {figures.utilisation:.1%} of their time while there was something to "
        f"propose, {figures.utilisation_to_the_end:.1%} with the last trials",
        "candidates": f"{figures.candidates:,} in {figures.elapsed_s / 3600:.2f} h, "
        f"{figures.candidates_per_s:.2f} a second",
        "trials": f"{trials}; {figures.finished:,} finished, {figures.stopped:,} stopped, {figures.failed:,} failed",
        "mean times": stages,
        "engines": f"{len(figures.engines)}, busy for {engines}",
        "busy": loads,
        "store": f"{figures.commits_per_s:.2f} commits a second of {figures.rows_per_commit:.0f} rows, "
        f"{figures.store_bytes_per_s / 1000:,.0f} kB a second",
        "driver": f"{figures.driver_s * 1000:.2f} ms of processor time a candidate; {first_ms:.2f} over the first "
        f"tenth in its midst, {last_ms:.2f} over the last ({figures.growth:.2f} times)",
        "messages": messages,
        "memory": f"{figures.memory_bytes / 1e6:,.0f} MB at most, {figures.memory_each_bytes / 1000:.1f} kB for each "
        "candidate",
        "bottleneck": figures.bottleneck,
        "stopped": figures.stopped_by or "",
    }
    return "\n".join(f"{name:<14}{text}" for name, text in told.items() if text)
