"""Discoveries of simulated campaigns, by the functions that decide real ones: true as promised, found as computed."""

from __future__ import annotations

import math
from typing import Any

import pytest

from benchmarks.claims import SCENARIOS, Scenario, simulate
from cognition.statistics import RATE

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


def keeps_its_word(figures: dict[str, Any]) -> None:
    """The false discovery rate is at most the stated one, as far as so many campaigns can tell."""
    ours = figures["ours"]
    assert ours["false_discovery_rate"] - ours["false_discovery_margin"] <= RATE
    if figures["scenario"]["num_planted"] == 0:
        low, _ = ours["campaigns_with_a_false_one_interval"]
        assert low <= RATE
        assert ours["ever_false"] <= RATE + 2 * math.sqrt(RATE * (1 - RATE) / 100), "at no look before, either"


@pytest.mark.parametrize("name", ["no effect, two baselines far behind", "no effect, 3 candidates, one baseline"])
def test_without_an_effect_false_discoveries_stay_under_the_stated_rate(name: str) -> None:
    figures = simulate(BY_NAME[name], 100)
    keeps_its_word(figures)
    low, _ = figures["naive"]["campaigns_with_a_false_one_interval"]
    assert low > RATE, "a t-test after every seed is fooled by the same losses"


def test_a_planted_effect_is_found_as_often_as_computed() -> None:
    scenario = BY_NAME["1 of 24 better by 3, one baseline, all 8 seeds at once"]
    figures = simulate(scenario, 200)
    keeps_its_word(figures)
    computed, found = figures["computed_power"], figures["ours"]["power"]
    assert 0.5 < computed < 0.95
    assert abs(found - computed) < 3.5 * math.sqrt(computed * (1 - computed) / 200)


def test_a_large_planted_effect_is_found_with_half_of_the_trials() -> None:
    figures = simulate(BY_NAME["6 of 24 better by 4"], 40)
    keeps_its_word(figures)
    assert figures["ours"]["power"] > 0.9
    assert figures["ours"]["trials"] < 0.7 * figures["Holm"]["trials"]


@pytest.mark.nightly
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_over_a_thousand_campaigns(scenario: Scenario) -> None:
    figures = simulate(scenario, 1000)
    keeps_its_word(figures)
    if scenario.num_planted and scenario.more_seeds == 0:
        computed = figures["computed_power"]
        assert abs(figures["ours"]["power"] - computed) < 3.5 * math.sqrt(computed * (1 - computed) / 1000)
