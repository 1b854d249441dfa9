from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from orchestrator.early_stopping.past import read_runs, write_runs
from orchestrator.early_stopping.replay import Tally, replay, replay_orders, winners_of
from orchestrator.early_stopping.settings import StoppingSettings
from tests.orchestrator.early_stopping.worlds import past_run, past_trial

SPREAD = [2.09 - 0.01 * place for place in range(10)]  # each is better than all before, so none is stopped
HALVING = StoppingSettings(policy="halving")


def test_no_policy_saves_and_loses_nothing() -> None:
    tally = replay(StoppingSettings(policy="none"), past_run([*SPREAD, 3.0]))
    assert (tally.num_stopped, tally.steps_saved, tally.winners_lost, tally.false_kill_rate) == (0, 0, 0.0, None)
    assert tally.steps == 11 * 100


def test_a_late_loser_is_stopped_and_its_remaining_steps_are_saved() -> None:
    tally = replay(HALVING, past_run([*SPREAD, 3.0]))
    assert (tally.num_stopped, tally.steps_saved, tally.num_false, tally.num_winners_lost) == (1, 50, 0, 0)


def test_a_trial_that_would_have_reached_the_bar_is_a_false_kill_and_a_winner_lost() -> None:
    run = past_run([*SPREAD, 3.0])
    deceived = dataclasses.replace(run.trials[-1], final=1.0)
    tally = replay(HALVING, dataclasses.replace(run, trials=(*run.trials[:-1], deceived)))
    assert (tally.num_false, tally.num_winners_lost, tally.num_winners) == (1, 1, 3)
    assert tally.false_kill_rate == 1.0


def test_only_what_had_happened_by_then_is_seen() -> None:
    """The loser runs beside the others: when it passes its rungs, none of them has finished."""
    run = past_run(SPREAD)
    beside = past_trial(10, 3.0, start=0.0, lasts=1.0)
    assert replay(HALVING, dataclasses.replace(run, trials=(beside, *run.trials))).num_stopped == 0


def test_founders_are_never_stopped_and_no_winners() -> None:
    levels = [*SPREAD, 3.0]
    run = past_run(levels, num_founders=len(levels))
    assert replay(HALVING, run).num_stopped == 0
    assert winners_of(run) == frozenset()
    assert winners_of(past_run(levels, num_founders=2)) == {"n7", "n8", "n9"}


def test_a_stopped_trial_never_becomes_a_finished_peer() -> None:
    """Ten losers after eight good ones: were their ends known, the bar would fall to them."""
    good = [2.0 + 0.01 * place for place in range(8)]
    tally = replay(StoppingSettings(policy="extrapolation"), past_run([*good, *[3.0 + 0.01 * n for n in range(10)]]))
    assert (tally.num_stopped, tally.num_false, tally.steps_saved) == (10, 0, 500)


def test_other_orders_keep_founders_first_and_are_repeatable() -> None:
    run = past_run([1.0, 1.1, *SPREAD], num_founders=2)
    once, again = (replay_orders(HALVING, run, num_orders=5, seed=3) for _ in range(2))
    assert once == again
    assert once.num_trials == 5 * 10
    assert replay(HALVING, run).num_stopped == 0 < once.num_stopped
    assert replay_orders(HALVING, run, num_orders=50, seed=4).saved != once.saved


def test_tallies_add_up() -> None:
    part = replay(HALVING, past_run([*SPREAD, 3.0]))
    assert (part + part).steps_saved == 2 * part.steps_saved
    assert part + Tally() == part


def test_kept_curves_come_back_with_their_times_and_ends(tmp_path: Path) -> None:
    runs = (past_run([*SPREAD, 3.0], num_founders=2), dataclasses.replace(past_run(SPREAD), name="other"))
    write_runs(runs, tmp_path / "kept.csv")
    back = read_runs(tmp_path / "kept.csv")
    assert [run.num_founders for run in back] == [2, 0]
    assert [trial.final for trial in back[0].trials] == pytest.approx([*SPREAD, 3.0])
    assert back[0].trials[3].points[4].at == pytest.approx(runs[0].trials[3].points[4].at, abs=0.01)
    assert [replay(HALVING, run) for run in back] == [replay(HALVING, run) for run in runs]
