from __future__ import annotations

from dataclasses import replace

import pytest

from cognition.records import FailureKind, Metric, Pace
from models.anomalies import AnomalyLimits, anomaly, pace_of, silence_s

LIMITS = AnomalyLimits()
STEPS = 100
PACE = Pace(step_s=0.1, losses=((10, 3.0), (50, 2.2), (100, 2.0)))


def curve(*losses: float, step_s: float = 0.1, peaks: tuple[int, ...] = ()) -> list[Metric]:
    return [
        Metric(
            trial_id="t",
            task="text",
            step=10 * number,
            loss=loss,
            grad_norm=1.0,
            learning_rate=1e-3,
            tokens=1000 * number,
            elapsed_s=5.0 + 10 * number * step_s,
            peak_bytes=peaks[number - 1] if peaks else None,
        )
        for number, loss in enumerate(losses, start=1)
    ]


HONEST = (5.0, 4.0, 3.4, 3.0, 2.8, 2.6, 2.5, 2.4, 2.35, 2.3)


def kind(points: list[Metric], limits: AnomalyLimits = LIMITS, pace: Pace | None = PACE) -> FailureKind | None:
    found = anomaly(points, STEPS, pace, limits)
    return found.kind if found else None


@pytest.mark.parametrize("num", range(len(HONEST) + 1))
def test_an_honest_curve_is_left_alone_at_every_point(num: int) -> None:
    assert kind(curve(*HONEST[:num])) is None


def test_weak_but_learning_designs_are_not_killed() -> None:
    assert kind(curve(*(5.5 - 0.02 * point for point in range(10)))) is None


def test_slow_steps_are_stopped_after_a_few_points_and_not_before() -> None:
    assert kind(curve(*HONEST[:2], step_s=2.0)) is None
    assert kind(curve(*HONEST[:3], step_s=2.0)) is FailureKind.slow
    assert kind(curve(*HONEST, step_s=0.9)) is None
    assert kind(curve(*HONEST, step_s=2.0), replace(LIMITS, slow_factor=None)) is None
    assert kind(curve(*HONEST, step_s=2.0), pace=None) is None


def test_one_slow_stretch_is_not_a_slow_training() -> None:
    points = curve(*HONEST)
    late = [replace(point, elapsed_s=point.elapsed_s + (30.0 if point.step > 40 else 0.0)) for point in points]
    assert kind(late) is None


def test_a_loss_far_below_the_baseline_is_not_believed_once_the_start_is_over() -> None:
    assert kind(curve(5.0, 1.0, 0.9)) is FailureKind.too_good
    assert kind(curve(5.0, 1.0, 0.9)[:2]) is None
    early = anomaly(curve(0.5, 0.5, 0.4), 1000, PACE, LIMITS)
    assert early is None
    assert kind(curve(5.0, 3.0, 2.4)) is None


def test_a_curve_that_stays_where_it_began_is_stopped_at_half_time() -> None:
    flat = [5.0] * 10
    assert kind(curve(*flat[:4])) is None
    assert kind(curve(*flat[:5])) is FailureKind.no_progress
    assert kind(curve(*flat), replace(LIMITS, no_progress_share=None)) is None


def test_memory_that_rises_at_every_point_is_stopped() -> None:
    rising = tuple(int(1e9 + 4e8 * number) for number in range(10))
    assert kind(curve(*HONEST, peaks=rising)) is FailureKind.memory
    level = (int(1e9), *(int(4e9),) * 9)
    assert kind(curve(*HONEST, peaks=level)) is None


def test_pace_is_the_median_step_and_the_lowest_loss_at_each_point() -> None:
    pace = pace_of([curve(*HONEST), curve(*(loss - 0.1 for loss in HONEST), step_s=0.3)])
    assert pace is not None
    assert pace.step_s == pytest.approx(0.2)
    assert dict(pace.losses)[20] == pytest.approx(3.9)
    assert pace_of([]) is None
    assert pace_of([curve(5.0)]) is None


def test_silence_is_measured_in_the_baselines_own_time() -> None:
    assert silence_s(10, PACE, LIMITS) == pytest.approx(20.0)
    assert silence_s(1, PACE, LIMITS) == LIMITS.silent_floor_s
    assert silence_s(1, PACE, LIMITS, compiling=True) >= 60
    assert silence_s(10_000, PACE, LIMITS, compiling=True) == silence_s(10_000, PACE, LIMITS)
    assert silence_s(10, None, LIMITS, compiling=True) is None
    assert silence_s(10, None, LIMITS) is None
    assert silence_s(10, PACE, replace(LIMITS, silent_factor=None)) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [("slow_factor", 1.0), ("silent_factor", 0.5), ("too_good_share", 1.5), ("no_progress_share", 0.0)],
)
def test_impossible_limits_are_refused_by_name(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"anomalies.{field} is {value}"):
        AnomalyLimits(**{field: value})
