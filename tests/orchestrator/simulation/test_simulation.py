"""Small campaigns on GPUs that are not there: what they do, and which part is named as the one in the way."""

from __future__ import annotations

import dataclasses
import json

import pytest

from orchestrator.errors import UsageError
from orchestrator.simulate import main
from orchestrator.simulation.campaign import Wish, simulate
from orchestrator.simulation.costs import Costs
from orchestrator.simulation.figures import Figures

NUM = 160
WISH = Wish(gpus=16, candidates=NUM, trial_s=600.0)


@pytest.fixture(scope="module")
def figures() -> Figures:
    return simulate(WISH)


def test_the_same_seed_gives_the_same_figures_and_another_one_others(figures: Figures) -> None:
    assert simulate(WISH).reproducible() == figures.reproducible()
    assert simulate(dataclasses.replace(WISH, seed=1)).reproducible() != figures.reproducible()


def test_no_trial_is_lost_or_done_twice(figures: Figures) -> None:
    assert figures.candidates == NUM
    assert figures.stopped_by is None
    assert figures.trials_begun == sum(figures.trials.values())
    assert figures.trials_begun == figures.finished + figures.stopped + figures.failed
    assert figures.trials["explore"] >= NUM, "a candidate that was refused for good is replaced by a repair"
    assert figures.trials["verify"] >= 3 * 4, "three candidates and the best baseline on three seeds"


def test_gpus_are_busy_where_nothing_is_in_their_way(figures: Figures) -> None:
    assert figures.utilisation > 0.95
    assert figures.utilisation_to_the_end < figures.utilisation
    assert figures.bottleneck.startswith(("The GPUs", "Nothing is full"))


def test_policies_stop_some_trials_and_their_gpus_go_on_with_others(figures: Figures) -> None:
    assert 0.05 < figures.stopped / NUM < 0.8
    unstopped = simulate(dataclasses.replace(WISH, overrides=("stages.explore.stopping.policy=none",)))
    assert unstopped.stopped == 0
    assert unstopped.elapsed_s > figures.elapsed_s


def test_with_more_slots_than_proposals_can_feed_it_is_proposing() -> None:
    slow = simulate(dataclasses.replace(WISH, candidates=100, costs=Costs(propose_s=60.0)))
    assert slow.bottleneck.startswith("Proposing")
    assert slow.utilisation < 0.7
    fed = simulate(dataclasses.replace(WISH, candidates=100, costs=Costs(propose_s=60.0, proposals_at_once=24)))
    assert fed.utilisation > slow.utilisation + 0.2


def test_with_a_tiny_engine_rate_it_is_the_engine_and_more_of_them_help() -> None:
    slow = dataclasses.replace(WISH, candidates=100, engines=1, costs=Costs(engine_s=60.0))
    one = simulate(slow)
    assert one.bottleneck.startswith("The trial engine")
    assert one.utilisation < 0.6
    six = simulate(dataclasses.replace(slow, engines=6))
    assert len(six.engines) == 6
    assert all(engine.num_trials > 0 for engine in six.engines)
    assert six.utilisation > one.utilisation + 0.2


def test_as_many_engines_as_it_takes_and_no_more() -> None:
    costs = Costs(engine_s=0.02, engine_growth_s=0.0)
    assert costs.engines_needed(1000, trials_per_s=1.0) == 1
    assert costs.engines_needed(1000, trials_per_s=100.0) == 3
    growing = Costs(engine_s=0.02, engine_growth_s=1e-5)
    assert growing.engines_needed(100_000, trials_per_s=10.0) > costs.engines_needed(100_000, trials_per_s=10.0)


def test_a_budget_ends_it(ray_here: None) -> None:
    """Also in a process that has a Ray, which knows nothing of a simulation's questions."""
    spent = simulate(dataclasses.replace(WISH, overrides=("budget.gpu_hours=12",)))
    assert spent.stopped_by is not None
    assert "gpu_hours" in spent.stopped_by
    assert spent.candidates < NUM
    assert spent.utilisation_to_the_end * 16 * spent.elapsed_s / 3600 <= 12.1
    clock = simulate(dataclasses.replace(WISH, overrides=("budget.wall=1h",)))
    assert clock.elapsed_s < 2 * 3600
    assert clock.stopped_by is not None


def test_in_deterministic_mode_the_clock_decides_nothing() -> None:
    wish = dataclasses.replace(
        WISH, gpus=8, candidates=60, overrides=("deterministic=true", "flow.look_ahead=8", "stages.verify.after=0.3")
    )
    quick, slow = simulate(wish), simulate(dataclasses.replace(wish, costs=Costs(engine_s=7.0, propose_s=20.0)))
    assert (quick.trials, quick.finished, quick.stopped) == (slow.trials, slow.finished, slow.stopped)
    assert quick.elapsed_s < slow.elapsed_s


def test_the_command_prints_figures_and_says_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--gpus", "4", "--candidates", "8", "--trial-s", "60"]
    assert main([*few, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["candidates"] == 8
    assert main(few) == 0
    assert "bottleneck" in capsys.readouterr().out
    assert main(["--gpus", "0"]) == 2
    assert "gpus is 0" in capsys.readouterr().err
    assert main([*few, "no.such=1"]) == 2
    assert main([*few, "--engines", "9"]) == 2
    assert "engines is 9: use 1 to 4" in capsys.readouterr().err


def test_impossible_costs_are_refused() -> None:
    with pytest.raises(ValueError, match=r"costs\.engine_s is -1"):
        Costs(engine_s=-1)
    with pytest.raises(ValueError, match="failed_share"):
        Costs(failed_share=1.0)
    with pytest.raises(UsageError, match="candidates is 0"):
        Wish(gpus=1, candidates=0)


def test_a_figure_is_given_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--gpus", "4", "--candidates", "20", "budget.candidates=3"]) == 2
    assert capsys.readouterr().err == (
        "error: budget.candidates=3 says something else than --candidates: use --candidates alone\n"
    )
