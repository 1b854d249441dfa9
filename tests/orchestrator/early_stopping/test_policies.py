from __future__ import annotations

import dataclasses
import random

import pytest

from orchestrator.early_stopping.curves import Peer, bar_of
from orchestrator.early_stopping.policies import decide, is_control
from orchestrator.early_stopping.settings import POLICIES, StoppingSettings
from tests.orchestrator.early_stopping.worlds import STEPS, curve_of, peer_of

LOOKING = [policy for policy in POLICIES if policy != "none"]
LEVELS = [2.0 + place / 20 for place in range(12)]  # 2.0 ... 2.55; the bar of the best quarter is 2.1
HOPELESS, HOPEFUL = 2.6, 2.02


def peers() -> list[Peer]:
    rng = random.Random(0)
    return [peer_of(level, rng) for level in LEVELS]


@pytest.mark.parametrize("policy", LOOKING)
def test_a_hopeless_trial_is_stopped_and_a_hopeful_one_goes_on(policy: str) -> None:
    settings = StoppingSettings(policy=policy)
    stopped = decide(settings, curve_of(HOPELESS, until=50), STEPS, peers())
    assert stopped.stop
    assert (stopped.step, stopped.loss) == tuple(curve_of(HOPELESS, until=50)[-1])
    assert stopped.bar == pytest.approx(2.1)
    for step in range(10, STEPS + 1, 10):
        assert not decide(settings, curve_of(HOPEFUL, until=step), STEPS, peers()).stop


@pytest.mark.parametrize("policy", LOOKING)
def test_nothing_is_stopped_before_the_first_look_or_at_the_end(policy: str) -> None:
    settings = StoppingSettings(policy=policy)
    stops = {step for step in range(10, STEPS + 1, 10) if decide(settings, curve_of(9.0, step), STEPS, peers()).stop}
    assert min(stops) == 50
    assert STEPS not in stops


@pytest.mark.parametrize("policy", LOOKING)
def test_too_few_finished_candidates_stop_nothing_whatever_else_runs(policy: str) -> None:
    settings = StoppingSettings(policy=policy, min_peers=8)
    running = [Peer(losses=dict(curve_of(2.0))) for _ in range(20)]
    founders = [dataclasses.replace(peer, founder=True) for peer in peers()]
    few = [*peers()[:7], *running, *founders]
    assert not decide(settings, curve_of(9.0, until=50), STEPS, few).stop
    assert decide(settings, curve_of(9.0, until=50), STEPS, [*few, peers()[7]]).stop


@pytest.mark.parametrize("policy", LOOKING)
def test_strong_founders_are_no_bar_to_candidates(policy: str) -> None:
    founders = [dataclasses.replace(peer_of(1.0, random.Random(seed)), founder=True) for seed in range(20)]
    settings = StoppingSettings(policy=policy)
    assert not decide(settings, curve_of(HOPEFUL, until=50), STEPS, [*peers(), *founders]).stop


def test_no_policy_never_stops() -> None:
    assert not decide(StoppingSettings(policy="none"), curve_of(9.0, until=50), STEPS, peers()).stop


def test_stopped_peers_hold_the_bar_where_it_was() -> None:
    finished = [peer_of(level) for level in LEVELS]
    survivors = [*finished[:6], *(dataclasses.replace(peer, final=None, stopped=True) for peer in finished[6:])]
    assert bar_of(0.25, survivors) == bar_of(0.25, finished) == 2.1
    assert bar_of(0.25, finished[:6]) < 2.1  # which is what survivors alone would say


def test_halving_compares_once_at_each_rung() -> None:
    settings = StoppingSettings(policy="halving", rungs=(0.5, 0.75))
    stops = [step for step in range(10, STEPS + 1, 10) if decide(settings, curve_of(9.0, step), STEPS, peers()).stop]
    assert stops == [50, 80]


def test_halving_passes_one_of_eta_at_a_rung() -> None:
    half, third = (StoppingSettings(policy="halving", eta=eta) for eta in (2.0, 3.0))
    exact = [peer_of(level) for level in LEVELS]
    passed = [[not decide(s, curve_of(level + 0.01, 50), STEPS, exact).stop for level in LEVELS] for s in (half, third)]
    assert [sum(each) for each in passed] == [5, 3]  # of 13 with the trial itself, ranks 1 to 6 and 1 to 4


def test_epsilon_is_the_chance_below_which_a_trial_is_stopped() -> None:
    curve = curve_of(2.2, until=50)
    chance = decide(StoppingSettings(policy="extrapolation"), curve, STEPS, peers()).chance
    assert chance is not None
    assert 0 < chance < 0.05
    for epsilon, stops in ((chance * 0.9, False), (chance * 1.1, True)):
        settings = StoppingSettings(policy="extrapolation", epsilon=epsilon)
        assert decide(settings, curve, STEPS, peers()).stop is stops


def test_controls_are_the_stated_share_and_always_the_same() -> None:
    ids = [f"trial-{number}" for number in range(4000)]
    controls = {trial_id for trial_id in ids if is_control(trial_id, 0.1)}
    assert 0.08 < len(controls) / len(ids) < 0.12
    assert controls <= {trial_id for trial_id in ids if is_control(trial_id, 0.3)}
    assert not any(is_control(trial_id, 0.0) for trial_id in ids)
    assert all(is_control(trial_id, 1.0) for trial_id in ids)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"policy": "asha"}, "stopping.policy is 'asha': known policies are none, halving"),
        ({"keep": 1.0}, "stopping.keep is 1.0"),
        ({"first_look": 0.0}, "stopping.first_look is 0.0"),
        ({"epsilon": -0.1}, "stopping.epsilon is -0.1"),
        ({"controls": 1.1}, "stopping.controls is 1.1"),
        ({"eta": 1.0}, "stopping.eta is 1.0"),
        ({"min_peers": 3}, "stopping.min_peers is 3"),
        ({"rungs": (0.75, 0.5)}, "stopping.rungs is"),
        ({"rungs": (0.25, 0.5)}, "none may lie before stopping.first_look"),
        ({"rungs": (0.5, 1.0)}, "at the end of the training"),
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said.replace(".", r"\.")):
        StoppingSettings(**wrong)  # type: ignore[arg-type]
