"""The command on a store of made-up trials."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from cognition.records import Candidate, FailureKind, Metric, Trial, TrialStatus
from cognition.store import Store
from orchestrator.backtest import Backtest, backtest, main, rank_correlations, recommended
from orchestrator.early_stopping.calibration import expected_rate
from orchestrator.early_stopping.past import read_run
from orchestrator.early_stopping.replay import Tally
from orchestrator.early_stopping.settings import StoppingSettings
from orchestrator.run_folder import CONFIG
from tests.cognition.factories import make_candidate, make_metric, make_trial
from tests.orchestrator.early_stopping.worlds import STEPS, curve_of, past_run

LEVELS = [2.09 - 0.01 * place for place in range(10)] + [3.0, 3.2]
NUM_FOUNDERS = 1


def trained(number: int, level: float) -> tuple[Candidate, Trial, list[Metric]]:
    candidate = make_candidate(number)
    trial = dataclasses.replace(
        make_trial(candidate, loss=level),
        steps=STEPS,
        started_at=1000.0 + 20 * number,
        finished_at=1015.0 + 20 * number,
    )
    return candidate, trial, [make_metric(trial, step, loss=loss) for step, loss in curve_of(level)]


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "made"
    folder.mkdir()
    settings = {"campaign": {"founders": ["first.py"] * NUM_FOUNDERS}}
    (folder / CONFIG).write_text(yaml.safe_dump({"settings": settings, "facts": {}}))
    with Store.open(folder) as store:
        for number, level in enumerate(LEVELS):
            candidate, trial, metrics = trained(number, level)
            store.append(candidate, *metrics, trial)
        broken = make_candidate(40)
        store.append(broken, make_trial(broken, loss=None))
    return folder


def test_every_policy_is_shown_with_what_it_saves_and_one_is_recommended(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(run_folder), "--orders", "3"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = {line.split()[0]: line.split() for line in out.splitlines()}
    assert " ".join(lines["curves"][2:]) == "12 of stage explore, 11 of them of candidates"
    # Two losers end at half of the training, of twelve trials: 100 of 1,200 steps.
    for policy in ("halving", "extrapolation"):
        assert lines[policy][1:5] == ["8.3%", "2", "of", "11"]
        assert lines[policy][5:8] == ["0", "of", "2"]
    assert "recommended" in lines
    assert "warning" not in lines


def test_one_policy_can_be_asked_for_with_other_values(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run_folder), "--policy", "halving", "--first-look", "0.7", "--orders", "1"]) == 0
    out = capsys.readouterr().out
    assert "median" not in out
    assert "5.0%" in out  # two losers end at 70 of 100 steps


def test_curves_of_a_campaign_that_was_stopped_early_carry_a_warning(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    candidate = make_candidate(50)
    unpromising = dataclasses.replace(
        make_trial(candidate, loss=None), status=TrialStatus.stopped, failure=FailureKind.unpromising
    )
    with Store.open(run_folder) as store:
        store.append(candidate, unpromising)
    assert main([str(run_folder), "--orders", "1"]) == 0
    assert "1 trials were stopped early there" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--stage", "verify"], "no finished curve of stage 'verify' (there are trials of explore)"),
        (["--keep", "2"], "stopping.keep is 2.0"),
        (["--orders", "0"], "--orders is 0"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(
    run_folder: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    assert main([str(run_folder), *more]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert said in err
    assert len(err.splitlines()) == 1


def test_what_is_no_run_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "typo")]) == 2
    assert "is not a campaign's folder" in capsys.readouterr().err


def test_a_read_run_is_in_the_order_of_time_with_the_founders_known(run_folder: Path) -> None:
    run = read_run(run_folder, "explore")
    assert [trial.number for trial in run.trials] == list(range(len(LEVELS)))
    assert (run.num_founders, run.num_stopped) == (NUM_FOUNDERS, 0)
    assert run.trials[3].final == pytest.approx(LEVELS[3])
    assert run.trials[3].points[0].at == pytest.approx(1060.0 + 1.0)


def test_the_most_saving_policy_is_recommended_unless_it_loses_winners() -> None:
    def test_of(name: str, saved: int, lost: int) -> Backtest:
        tally = Tally(num_winners=40, num_winners_lost=lost, steps=100, steps_saved=saved, num_stopped=1)
        return Backtest(settings=StoppingSettings(policy=name), in_time=tally, elsewise=tally)

    greedy, modest, idle = test_of("median", 40, 3), test_of("halving", 20, 2), test_of("none", 0, 0)
    assert recommended([greedy, modest, idle]) is modest
    assert recommended([greedy, idle]) is None


def test_rank_correlations_are_those_of_the_curves() -> None:
    assert rank_correlations([past_run(LEVELS)])[0.5] == pytest.approx(1.0)
    swapped = past_run(sorted(LEVELS))
    ends = [trial.final for trial in swapped.trials][::-1]
    reversed_ends = tuple(dataclasses.replace(t, final=end) for t, end in zip(swapped.trials, ends, strict=True))
    assert rank_correlations([dataclasses.replace(swapped, trials=reversed_ends)])[0.5] == pytest.approx(-1.0)


def test_the_shipped_curves_give_the_expected_rate_of_any_setting() -> None:
    nothing = expected_rate(StoppingSettings(policy="none"))
    assert (nothing.num_stopped, nothing.low) == (0, None)
    assert "stops nothing" in nothing.in_words
    some = expected_rate(StoppingSettings(policy="extrapolation"))
    assert some.low is not None
    assert some.high is not None
    assert some.low <= some.num_false / some.num_stopped <= some.high
    assert f"{some.num_false} of {some.num_stopped} stops are wrong" in some.in_words
    later = expected_rate(StoppingSettings(policy="extrapolation", first_look=0.7, rungs=(0.75,)))
    assert later.saved < some.saved


def test_a_backtest_of_several_runs_is_their_sum() -> None:
    settings, run = StoppingSettings(policy="halving"), past_run(LEVELS)
    once, twice = backtest(settings, [run], 2), backtest(settings, [run, run], 2)
    assert twice.in_time == once.in_time + once.in_time
