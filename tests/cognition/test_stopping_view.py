from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from cognition.reader import Reader
from cognition.records import EarlyStop, FailureKind, Trial, TrialStatus
from cognition.store import Store
from tests.cognition.factories import make_candidate, make_trial

STEPS = 100


def finished(number: int, loss: float) -> Trial:
    return dataclasses.replace(make_trial(make_candidate(number), loss=loss), steps=STEPS)


def stopped(number: int, step: int) -> Trial:
    trial = make_trial(make_candidate(number), loss=None)
    return dataclasses.replace(trial, status=TrialStatus.stopped, failure=FailureKind.unpromising, steps=step)


def decision(trial: Trial, *, spared: bool) -> EarlyStop:
    return EarlyStop(
        trial_id=trial.trial_id,
        candidate_id=trial.candidate_id,
        stage=trial.stage,
        policy="halving",
        step=50,
        loss=3.0,
        bar=2.0,
        spared=spared,
    )


def test_controls_that_reached_the_bar_are_false_kills_and_saved_steps_are_counted(tmp_path: Path) -> None:
    kills = [stopped(1, 50), stopped(2, 75)]
    good, bad, running = finished(3, 1.9), finished(4, 2.4), make_trial(make_candidate(5))
    with Store.open(tmp_path) as store:
        store.append(*kills, good, bad, finished(6, 1.8), make_trial(make_candidate(7), loss=None))
        store.append(*(decision(trial, spared=False) for trial in kills))
        store.append(*(decision(trial, spared=True) for trial in (good, bad, running)))
    [row] = Reader(tmp_path).query("FROM stopping").rows
    assert row[:6] == ("explore", "halving", 2, 3, 2, 1)
    assert row[6] == pytest.approx(0.5)
    assert row[7:] == (75, pytest.approx(75 / (5 * STEPS)))


def test_without_a_control_that_ended_there_is_no_rate(tmp_path: Path) -> None:
    trial = stopped(1, 60)
    with Store.open(tmp_path) as store:
        store.append(trial, decision(trial, spared=False))
    assert Reader(tmp_path).query("SELECT num_stopped, false_kill_rate FROM stopping").rows == [(1, None)]
