"""When a training under way is stopped at once: pure functions over its curve, as the parent measured it.

Curves are telemetry of a process that runs generated code: good enough to stop a trial, never to rank one. Each rule
compares with the reference baseline's own pace at the same stage, where that is known, and none looks before it has
seen a few points: ranks between honest designs are never judged here.

Not guaranteed: that a training which none of this stops is honest; the sealed evaluation and the canary judge that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from cognition.records import FailureKind, Metric, Pace

_FEW_POINTS = 3
_COMPILING_S = 300.0  # torch.compile and Triton, on a machine that compiles for several trials at once


@dataclass(frozen=True, slots=True, kw_only=True)
class AnomalyLimits:
    """What counts as anomalous; `null` switches a rule off."""

    slow_factor: float | None = 10.0  # step time over the baseline's
    silent_factor: float | None = 20.0  # wait for a word, over the time in which the baseline speaks
    silent_floor_s: float = 10.0  # no silence shorter than this counts
    too_good_share: float | None = 0.3  # training loss below the baseline's at the same step, as a share of it
    no_progress_share: float | None = 0.01  # least fall of the loss in the first half, as a share of the first point
    memory_growth_gb: float | None = 1.0  # rise of the peak since the second point, while it never stands still

    def __post_init__(self) -> None:
        for name in ("slow_factor", "silent_factor"):
            value = getattr(self, name)
            if value is not None and not 1 < value < math.inf:
                raise ValueError(f"anomalies.{name} is {value}; give a factor above 1, or null to switch it off")
        for name in ("too_good_share", "no_progress_share"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                raise ValueError(f"anomalies.{name} is {value}; give a share between 0 and 1, or null")
        for name in ("silent_floor_s", "memory_growth_gb"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"anomalies.{name} is {value}; give a number above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Anomaly:
    """Why a training is stopped."""

    kind: FailureKind
    detail: str


def anomaly(curve: Sequence[Metric], steps: int, pace: Pace | None, limits: AnomalyLimits) -> Anomaly | None:
    """The first rule that a curve of the text training breaks; None while all is well.

    Args:
        curve: the points so far, oldest first, of a training of `steps` steps.
        pace: the reference baseline's; None leaves the rules out that need it.
    """
    if len(curve) < _FEW_POINTS:
        return None
    return (
        _slow(curve, pace, limits.slow_factor)
        or _too_good(curve, steps, pace, limits.too_good_share)
        or _no_progress(curve, steps, limits.no_progress_share)
        or _growing(curve, limits.memory_growth_gb)
    )


def unbelievable(loss: float, pace: Pace | None, limits: AnomalyLimits) -> Anomaly | None:
    """A sealed loss that lies further below all that the reference baseline trained to than an honest one can."""
    known = [loss for _, loss in pace.losses] if pace is not None else []
    share = limits.too_good_share
    if share is None or not known or loss >= (1 - share) * min(known):
        return None
    return Anomaly(
        kind=FailureKind.too_good,
        detail=f"sealed loss {loss:.4f}, where the reference baseline trained down to {min(known):.4f}: more than "
        f"{share:.0%} below it is not believed",
    )


def silence_s(report_every: int, pace: Pace | None, limits: AnomalyLimits, *, compiling: bool = False) -> float | None:
    """Seconds without a word after which a child counts as silent; None: only its deadline ends it.

    `compiling`: kernels are about to be compiled for its first steps, of which the pace says nothing.
    """
    if pace is None or limits.silent_factor is None:
        return None
    floor_s = max(limits.silent_floor_s, _COMPILING_S) if compiling else limits.silent_floor_s
    return max(floor_s, limits.silent_factor * report_every * pace.step_s)


def pace_of(curves: Sequence[Sequence[Metric]]) -> Pace | None:
    """The pace of the reference baseline from its text curves at one stage; None without a usable one."""
    seconds = [each for curve in curves for each in step_seconds(curve)]
    if not seconds:
        return None
    lowest: dict[int, float] = {}
    for point in (point for curve in curves for point in curve):
        lowest[point.step] = min(point.loss, lowest.get(point.step, math.inf))
    return Pace(step_s=median(seconds), losses=tuple(sorted(lowest.items())))


def step_seconds(curve: Sequence[Metric]) -> tuple[float, ...]:
    """Seconds per step between neighbouring points: what comes before the first point is start-up."""
    return tuple(
        (later.elapsed_s - earlier.elapsed_s) / (later.step - earlier.step)
        for earlier, later in pairwise(curve)
        if later.step > earlier.step and later.elapsed_s > earlier.elapsed_s
    )


def _slow(curve: Sequence[Metric], pace: Pace | None, factor: float | None) -> Anomaly | None:
    if pace is None or factor is None:
        return None
    seconds = median(step_seconds(curve) or (0.0,))
    if seconds <= factor * pace.step_s:
        return None
    return Anomaly(
        kind=FailureKind.slow,
        detail=f"a step takes {seconds:.3g} s, {seconds / pace.step_s:.0f} times the reference baseline's "
        f"{pace.step_s:.3g} s; the limit is {factor:g} times: use chunked operators instead of loops over time",
    )


def _too_good(curve: Sequence[Metric], steps: int, pace: Pace | None, share: float | None) -> Anomaly | None:
    """From a quarter of the training on: before, who warms up faster may be far ahead for a moment."""
    last = curve[-1]
    if pace is None or share is None or last.step < steps / 4:
        return None
    known = [loss for step, loss in pace.losses if step <= last.step]
    if not known or last.loss >= (1 - share) * min(known):
        return None
    return Anomaly(
        kind=FailureKind.too_good,
        detail=f"training loss {last.loss:.4f} at step {last.step}, where the reference baseline has {min(known):.4f}: "
        f"more than {share:.0%} below it is not believed",
    )


def _no_progress(curve: Sequence[Metric], steps: int, share: float | None) -> Anomaly | None:
    last = curve[-1]
    if share is None or last.step < steps / 2:
        return None
    first, lowest = curve[0].loss, min(point.loss for point in curve[1:])
    if lowest < (1 - share) * first:
        return None
    return Anomaly(
        kind=FailureKind.no_progress,
        detail=f"the loss was {first:.4f} at step {curve[0].step} and never below {lowest:.4f} up to step {last.step}: "
        f"a fall of {share:.0%} is the least expected",
    )


def _growing(curve: Sequence[Metric], growth_gb: float | None) -> Anomaly | None:
    peaks = [point.peak_bytes for point in curve[1:] if point.peak_bytes is not None]
    if growth_gb is None or len(peaks) < _FEW_POINTS:
        return None
    risen = (peaks[-1] - peaks[0]) / 1e9
    if risen <= growth_gb or any(later <= earlier for earlier, later in pairwise(peaks)):
        return None
    return Anomaly(
        kind=FailureKind.memory,
        detail=f"memory rose at every point, by {risen:.1f} GB since step {curve[1].step}; the limit is {growth_gb:g} "
        "GB: something is kept from step to step",
    )
