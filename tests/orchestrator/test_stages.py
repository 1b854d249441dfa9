"""How stages are configured: what fits the scale, and what is refused."""

from __future__ import annotations

import pytest

from models.scale import load_scale
from orchestrator.config import Settings, compose, settings_from
from orchestrator.early_stopping.settings import StoppingSettings
from orchestrator.errors import UsageError
from orchestrator.stages import Ladder, StageSettings


def settings(*overrides: str, scale: str = "tiny") -> Settings:
    return settings_from(compose(["+campaign=linear_attn", f"scale={scale}", *overrides]))


def refusal(*overrides: str, scale: str = "tiny") -> str:
    with pytest.raises(UsageError) as caught:
        settings(*overrides, scale=scale)
    return str(caught.value)


def test_exploration_takes_everybody_and_the_best_three_climb_to_verification() -> None:
    found = settings()
    assert found.stages == {
        "explore": StageSettings(pool="explore", stopping=StoppingSettings(policy="extrapolation")),
        "verify": StageSettings(pool="verify", best=3),
    }
    assert found.ladder.first.name == "explore"
    assert [(lower.name, upper.name) for lower, upper in found.ladder.climbs] == [("explore", "verify")]


def test_a_stage_that_is_not_named_climbs_like_verification() -> None:
    found = settings("stages.verify.best=1", scale="tiny_ladder")
    assert list(found.stages) == ["explore", "sift", "verify"], "in the scale's order"
    assert found.stages["sift"] == StageSettings(pool="verify", best=3)
    assert found.stages["verify"].best == 1
    named = settings("+stages.sift.share=0.5", scale="tiny_ladder")
    assert (named.stages["sift"].best, named.stages["sift"].share) == (None, 0.5)


def test_a_scale_whose_stages_have_other_names_is_not_bound_by_the_shipped_ones() -> None:
    found = settings(scale="ladder")
    assert list(found.stages) == ["m5", "m20", "m60", "m340"]
    places, num = [], 100
    for _, upper in found.ladder.climbs:
        places.append(num := found.ladder.rule(upper).places(num))
    assert places == [25, 8, 2]


def test_what_somebody_set_for_no_stage_of_the_scale_is_refused_with_those_that_it_has() -> None:
    told = "scale ladder has no such stage; it has m5, m20, m60, m340"
    assert f"stages.verify: {told}" in refusal("stages.verify.best=2", scale="ladder")
    assert "stages.sift: scale tiny has no such stage; it has explore, verify" in refusal("+stages.sift.best=2")


def test_one_stage_is_a_ladder_without_a_climb() -> None:
    assert settings("~scale.stages.verify").ladder.climbs == ()


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("stages.verify.best=-1", "stages.verify.best is -1"),
        ("stages.verify.best=null", "stages.verify has best None and share None"),
        ("stages.verify.share=0.5", "stages.verify has best 3 and share 0.5"),
        ("stages.verify.share=0", "stages.verify.share is 0.0"),
        ("stages.verify.after=0", "stages.verify.after is 0.0"),
        ("stages.verify.after=1.5", "stages.verify.after is 1.5"),
        ("stages.verify.best=some", "stages.verify.best is 'some': a whole number is needed"),
        ("+stages.verify.bst=1", "unknown key stages.verify.bst: did you mean 'best'"),
        ("stages.verify.pool=''", "stages.verify.pool is empty"),
        ("stages.verify=3", "stages.verify is 3: a group of keys is needed"),
        ("+stages.explore.best=2", "stages.explore has best 2 and share None: it is the first stage"),
    ],
)
def test_values_that_do_not_fit_are_named_with_their_place(override: str, told: str) -> None:
    assert told in refusal(override)


def test_a_ladder_needs_settings_for_every_stage_of_its_scale() -> None:
    with pytest.raises(ValueError, match="stages are explore: scale tiny has explore, verify"):
        Ladder(scale=load_scale("tiny"), settings={"explore": StageSettings(pool="explore")})


def test_baselines_take_no_place() -> None:
    found = settings("campaign.founders=[linear_attention,fusion_gated_fir_net]", "budget.candidates=2")
    assert found.campaign.founders == ("delta_net", "linear_attention", "fusion_gated_fir_net")
    assert list(found.contestants) == [2, 3, 4]
