from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest

from cognition.records import EarlyStop, FailureKind, Metric, Trial, TrialStatus
from models.data import DataSpec
from models.scale import load_scale
from models.trial import TrialJob
from orchestrator.early_stopping.board import StoppingBoard
from orchestrator.early_stopping.recalled import Recalled
from orchestrator.early_stopping.settings import StoppingSettings
from tests.orchestrator.early_stopping.worlds import STEPS, curve_of

STAGE = dataclasses.replace(load_scale("tiny").stage("explore"), steps=STEPS)
DATA = DataSpec(source="stdlib", tokenizer="bytes", max_bytes=1_000_000, seed=0)
POLICY = StoppingSettings(policy="halving", controls=0.0)
NUM_FOUNDERS = 2
GOOD = [2.09 - 0.01 * place for place in range(10)]  # each is better than all before


def job(number: int, stage: str = "explore") -> TrialJob:
    return TrialJob(
        trial_id=f"t{number}",
        candidate_id=f"c{number}",
        source="",
        slot="token_mixer",
        stage=dataclasses.replace(STAGE, name=stage),
        seed=0,
        data=DATA,
    )


def metrics_of(number: int, level: float) -> list[Metric]:
    return [
        Metric(
            trial_id=f"t{number}",
            task="text",
            step=step,
            loss=loss,
            grad_norm=1.0,
            learning_rate=0.1,
            tokens=step,
            elapsed_s=step / 10,
        )
        for step, loss in curve_of(level)
    ]


def trial_of(number: int, loss: float | None, failure: FailureKind | None = None) -> Trial:
    return Trial(
        trial_id=f"t{number}",
        candidate_id=f"c{number}",
        stage="explore",
        seed=0,
        split="validation",
        status=TrialStatus.finished if loss is not None else TrialStatus.failed,
        failure=failure,
        loss=loss,
    )


class Asked:
    """A board, and what it told."""

    def __init__(self, policy: StoppingSettings = POLICY) -> None:
        self.told: list[EarlyStop] = []
        self.board = StoppingBoard({"explore": policy}, NUM_FOUNDERS, self.told.append, now=lambda: 7.0)

    def train(self, number: int, level: float, *, horizon: int | None = None, stage: str = "explore") -> int:
        """The step at which it was stopped, or the last one."""
        for metric in metrics_of(number, level):
            if self.board.point(job(number, stage), metric, number, horizon):
                return metric.step
        self.board.ended(trial_of(number, level))
        return STEPS

    def train_all(self, levels: Sequence[float], first: int = NUM_FOUNDERS) -> None:
        for place, level in enumerate(levels):
            assert self.train(first + place, level) == STEPS


def test_a_loser_is_stopped_and_told_once_with_its_figures() -> None:
    asked = Asked()
    asked.train_all(GOOD)
    assert asked.train(50, 3.0) == 50
    [stop] = asked.told
    assert (stop.trial_id, stop.candidate_id, stop.stage, stop.policy) == ("t50", "c50", "explore", "halving")
    assert (stop.step, stop.spared, stop.chance, stop.created_at) == (50, False, None, 7.0)
    assert stop.loss == dict(curve_of(3.0))[50]
    assert stop.bar == sorted(GOOD)[2]
    assert "number 11 of 11" in stop.detail


def test_a_control_is_told_once_and_trains_to_its_end() -> None:
    asked = Asked(dataclasses.replace(POLICY, controls=1.0))
    asked.train_all(GOOD)
    assert asked.train(50, 3.0) == STEPS
    assert [(stop.trial_id, stop.step, stop.spared) for stop in asked.told] == [("t50", 50, True)]


def test_founders_are_never_stopped() -> None:
    asked = Asked()
    asked.train_all(GOOD)
    assert asked.train(NUM_FOUNDERS - 1, 9.0) == STEPS
    assert asked.train(NUM_FOUNDERS, 9.0) == 50


def test_a_stage_without_a_policy_is_left_alone() -> None:
    asked = Asked()
    asked.train_all(GOOD)
    assert asked.train(50, 3.0, stage="verify") == STEPS
    assert asked.told == []


def test_with_a_horizon_only_earlier_candidates_count() -> None:
    asked = Asked()
    asked.train_all(GOOD)  # numbers 2 to 11
    assert asked.train(50, 3.0, horizon=8) == STEPS  # seven finished, and eight are needed
    assert asked.train(51, 3.0, horizon=9) == 50


def test_other_tasks_than_the_text_are_not_looked_at() -> None:
    asked = Asked()
    asked.train_all(GOOD)
    canary = [dataclasses.replace(metric, task="canary") for metric in metrics_of(50, 3.0)]
    assert not any(asked.board.point(job(50), metric, 50, None) for metric in canary)


def test_a_failed_trial_is_nobodys_peer() -> None:
    asked = Asked()
    asked.train_all(GOOD[:7])
    for metric in metrics_of(20, 1.0):
        asked.board.point(job(20), metric, 20, None)
    asked.board.ended(trial_of(20, None, FailureKind.leak))
    assert asked.train(50, 3.0) == STEPS  # still one too few
    asked.train_all(GOOD[7:8], first=30)
    assert asked.train(51, 3.0) == 50


def test_a_trial_that_starts_again_is_judged_by_its_new_curve() -> None:
    asked = Asked()
    asked.train_all(GOOD)
    for metric in metrics_of(50, 3.0)[:4]:
        assert not asked.board.point(job(50), metric, 50, None)
    assert asked.train(50, 1.9) == STEPS


def test_what_the_store_holds_is_recalled_and_not_told_again() -> None:
    first = Asked()
    first.train_all(GOOD)
    assert first.train(50, 3.0) == 50
    again = Asked()
    past = Recalled(
        trials=[*(trial_of(2 + place, level) for place, level in enumerate(GOOD)), trial_of(90, None)],
        curves={f"t{2 + place}": curve_of(level) for place, level in enumerate(GOOD)},
        numbers={f"c{number}": number for number in range(100)},
        decided=first.told,
    )
    again.board.recall(past)
    assert again.train(50, 3.0) == 50  # it was cut off before its row was written
    assert again.told == []
    assert again.train(51, 3.0) == 50
    assert [stop.trial_id for stop in again.told] == ["t51"]


def test_trials_of_another_seed_are_no_peers() -> None:
    """Their data come in another order: a whole stage may lie higher on one seed than on another."""
    asked = Asked()
    asked.train_all(GOOD)
    other = dataclasses.replace(job(50), seed=1)
    assert not any(asked.board.point(other, metric, 50, None) for metric in metrics_of(50, 3.0))
    assert asked.told == []


def test_points_that_a_resumed_trial_tells_again_are_not_judged_again() -> None:
    asked = Asked()
    asked.train_all(GOOD)
    points = metrics_of(50, 3.0)
    earlier, rest = points[:6], points[6:]
    assert not any(asked.board.point(job(50), metric, 50, None, again=True) for metric in earlier)
    assert asked.told == []
    assert next(m.step for m in rest if asked.board.point(job(50), m, 50, None)) == 80, "the next rung"


@pytest.mark.parametrize("policy", ["halving", "median", "extrapolation"])
def test_the_clock_changes_nothing_where_there_is_a_horizon(policy: str) -> None:
    """Candidates beyond the horizon may have come far, or not at all."""
    stops = []
    for later in (0, 5):
        asked = Asked(StoppingSettings(policy=policy, controls=0.0))
        asked.train_all(GOOD)
        for number in range(60, 60 + later):
            asked.train(number, 1.0, horizon=11)
        stops.append([asked.train(50 + place, 2.0 + place / 10, horizon=11) for place in range(6)])
    assert stops[0] == stops[1]
    assert {50, STEPS} <= set(stops[0])
