"""The noise of each stage from a campaign's rows, and what it leaves to be told."""

from __future__ import annotations

import dataclasses
import math

import pytest

from cognition.records import NoiseLevel, Record, Trial
from cognition.statistics import alone, paired_noise, smallest_effect
from orchestrator.config import Settings, compose, settings_from
from orchestrator.noise import noise_levels, told_before
from orchestrator.population import Population
from tests.cognition.factories import make_candidate, make_noise, make_trial


def settings(*overrides: str) -> Settings:
    few = ("campaign.founders=[delta_net,linear_attention,retnet]", "scale.stages.verify.seeds=[101,102,103]")
    return settings_from(compose(["+campaign=linear_attn", "scale=tiny", *few, *overrides]))


def trained(number: int, stage: str, losses: dict[int, float | None]) -> list[Record]:
    one = make_candidate(number, arm="baseline" if number < 3 else "grammar")
    return [one, *(make_trial(one, stage=stage, seed=seed, loss=loss) for seed, loss in losses.items())]


def levels(*rows: Record, stage: str, config: Settings | None = None) -> dict[str, NoiseLevel]:
    config = config or settings()
    found = noise_levels(config, Population(rows, "explore"), config.scale.stage(stage))
    return {level.metric: level for level in found}


EXPLORED = [*trained(0, "explore", {0: 2.5, 1: 2.6}), *trained(1, "explore", {0: 2.4, 1: 2.55})]
VERIFIED = [
    *trained(0, "verify", {101: 2.5, 102: 2.6, 103: 2.4}),
    *trained(3, "verify", {101: 2.3, 102: 2.45, 103: 2.2}),
]


def test_at_the_first_stage_baselines_tell_the_noise_and_candidates_do_not() -> None:
    found = levels(*EXPLORED, *trained(3, "explore", {0: 2.0, 1: 9.0}), stage="explore")
    noise = paired_noise([[2.5, 2.6], [2.4, 2.55]])
    assert noise is not None
    loss = found["loss"]
    assert (loss.sigma, loss.dof, loss.num_mixers, loss.num_seeds) == (pytest.approx(noise.std), 1, 2, 2)
    assert (loss.num_results, loss.stage_seeds) == (4, 1)
    t95, t80 = 12.7062, 1.3764  # one degree of freedom
    assert loss.smallest_difference == pytest.approx((t95 + t80) * noise.std, rel=1e-3)
    assert found["benchmark"].sigma == pytest.approx(0.0), "seeds differ there by the same for all"


def test_above_it_everybody_does_who_was_trained_on_all_seeds() -> None:
    half = trained(4, "verify", {101: 2.0, 102: 2.0, 103: None})
    loss = levels(*VERIFIED, *half, stage="verify")["loss"]
    noise = paired_noise([[2.5, 2.6, 2.4], [2.3, 2.45, 2.2]])
    assert noise is not None
    assert (loss.sigma, loss.dof, loss.num_mixers, loss.num_results) == (pytest.approx(noise.std), 2, 2, 6)
    assert loss.smallest_difference == pytest.approx(smallest_effect(noise.std, 3, alone()))
    lent = settings("stages.verify.baselines=null")
    with_lent = levels(*VERIFIED, stage="verify", config=lent)["loss"].smallest_difference
    assert with_lent == pytest.approx(smallest_effect(noise.std, 3, alone(), prior_dof=2))
    assert with_lent is not None
    assert loss.smallest_difference is not None
    assert with_lent < loss.smallest_difference


def test_a_row_comes_with_more_results_and_not_without() -> None:
    first = levels(*VERIFIED, stage="verify")
    assert levels(*VERIFIED, *first.values(), stage="verify") == {}
    more = trained(4, "verify", {101: 2.0, 102: 2.1, 103: 2.0})
    assert levels(*VERIFIED, *first.values(), *more, stage="verify")["loss"].num_results == 9
    lost = [row for row in VERIFIED if not (isinstance(row, Trial) and row.seed == 103)]
    assert levels(*lost, stage="verify") == {}
    assert levels(*trained(0, "verify", {101: 2.5, 102: 2.6, 103: 2.4}), stage="verify") == {}


def test_the_last_row_holds_in_whatever_order_they_are_read() -> None:
    old, new = make_noise(num_results=6), make_noise(num_results=9, sigma=0.5)
    for rows in ((old, new), (new, old)):
        assert Population(rows).verified.noise["verify", "loss"] == new


def test_before_a_stage_is_paid_for_the_one_below_speaks_for_it() -> None:
    config, verify = settings(), settings().scale.stage("verify")
    assert told_before(config, Population(), verify) is None
    below = make_noise(stage="explore", sigma=0.02)
    known = told_before(config, Population([below]), verify)
    assert known is not None
    assert known.measured_at == "explore"
    assert known.smallest_difference == pytest.approx(smallest_effect(0.02, 3, alone()))
    own = told_before(config, Population([below, dataclasses.replace(below, stage="verify", sigma=0.5)]), verify)
    assert own is not None
    assert own.measured_at == "verify"
    assert math.isclose(own.smallest_difference or 0.0, 25 * (known.smallest_difference or 0.0))
