"""Configuration: what composes, what is refused, and how plainly."""

from __future__ import annotations

import re

import pytest

from orchestrator.config import compose, settings_from
from orchestrator.errors import UsageError
from orchestrator.values import plain


def refusal(*overrides: str) -> str:
    with pytest.raises(UsageError) as caught:
        settings_from(compose(overrides))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_campaign_alone_is_enough() -> None:
    settings = settings_from(compose(["+campaign=linear_attn"]))
    assert settings.scale.name == "cpu"
    assert settings.run_folder.as_posix() == "runs/linear_attn"
    assert settings.campaign.founders[0] == "delta_net"
    assert len(settings.campaign.founders) == 4


def test_another_slot_is_another_campaign_with_its_own_baselines() -> None:
    settings = settings_from(compose(["+campaign=channel_mixer"]))
    assert settings.campaign.slot == "channel_mixer"
    assert settings.campaign.founders[0] == "swiglu"
    assert settings.run_folder.as_posix() == "runs/channel_mixer"


def test_stacks_may_be_hybrid_as_long_as_a_candidate_has_a_layer() -> None:
    every = "+scale.stages.verify.size.softmax_every"
    settings = settings_from(compose(["+campaign=linear_attn", "scale=cpu", f"{every}=2"]))
    assert settings.scale.stage("verify").size.softmax_layers == (1,)
    assert settings.scale.stage("explore").size.softmax_layers == ()
    assert "no layer is left" in refusal("+campaign=linear_attn", "scale=cpu", f"{every}=1")
    whole = settings_from(compose(["+campaign=channel_mixer", "scale=cpu", f"{every}=1"]))
    assert whole.scale.stage("verify").size.softmax_layers == (0, 1)
    assert "softmax_every is 3" in refusal("+campaign=linear_attn", "scale=cpu", f"{every}=3")


def test_overrides_reach_the_settings() -> None:
    settings = settings_from(
        compose(["+campaign=linear_attn", "scale=tiny", "budget.candidates=3", "seed=5", "deterministic=true"])
    )
    assert (settings.scale.name, settings.budget.candidates, settings.seed) == ("tiny", 3, 5)
    assert settings.deterministic


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ((), "+campaign=NAME (known: channel_mixer, linear_attn)"),
        (("+campaign=other",), "linear_attn"),
        (("+campaign=linear_attn", "bugdet.candidates=3"), "bugdet"),
        (("+campaign=linear_attn", "+budget.candidats=3"), "did you mean 'candidates'"),
        (("+campaign=linear_attn", "scale=huge"), "tiny"),
        (("+campaign=linear_attn", "budget.candidates=-1"), "-1"),
        (("+campaign=linear_attn", "budget.candidates=many"), "a whole number is needed"),
        (("+campaign=linear_attn", "budget.slot_hours=0"), "above zero"),
        (("+campaign=linear_attn", "scale=tiny", "scale.stages.explore.size.num_heads=3"), "num_heads"),
        (("+campaign=linear_attn", "scale=tiny", "scale.stages.explore.steps=0"), "steps"),
        (("+campaign=linear_attn", "arms.weights.grammar=-2"), "-2"),
        (("+campaign=linear_attn", "+arms.weights.oracle=1"), "grammar, random"),
        (("+campaign=linear_attn", "selection.rule=best"), "two_tier"),
        (("+campaign=linear_attn", "run.name=../escape"), "'../escape'"),
        (("+campaign=linear_attn", "campaign.founders=[retnet2]"), "delta_net"),
        (("+campaign=linear_attn", "campaign.slot=embedding"), "token_mixer"),
        (("+campaign=linear_attn", "not-an-override"), "not-an-override"),
        (("+campaign=linear_attn", "scale=null"), "NoneType"),
        (("+campaign=linear_attn", "~scale"), "scale=auto|cpu|tiny"),
        (("+campaign=linear_attn", "~budget"), "lacks budget"),
        (("+campaign=linear_attn", "seed=-1"), "seed is -1"),
        (("+campaign=linear_attn", "arms.weights.grammar=inf"), "inf"),
        (("+campaign=linear_attn", "novelty.same_behaviour=nan"), "novelty.same_behaviour is nan"),
        (("+campaign=linear_attn", "novelty.same_motivation=1.5"), "novelty.same_motivation is 1.5"),
        (("+campaign=linear_attn", "novelty.doubtful_motivation=0.97"), "doubt ends where sameness begins"),
        (("+campaign=linear_attn", "novelty.doubtful_structure=0.01"), "doubt begins behind sameness"),
        (("+campaign=linear_attn", "llm=none", "novelty.ask_model=true"), "no language model plays the judge"),
        (("+campaign=linear_attn", "grammar.learning.floor=0"), "floor"),
        (("+campaign=linear_attn", "grammar.crossover=2"), "crossover"),
    ],
)
def test_bad_input_is_one_line_that_names_the_remedy(overrides: tuple[str, ...], told: str) -> None:
    assert told in refusal(*overrides)


def test_plain_values_are_yaml_safe_and_complete() -> None:
    values = plain(settings_from(compose(["+campaign=linear_attn", "scale=tiny"])))
    assert values["scale"]["stages"][0]["size"]["hidden_size"] == 32
    assert values["arms"]["weights"]["grammar"] == 3


def test_pools_and_stages_take_keys_that_the_shipped_configuration_does_not_name() -> None:
    given = [
        "pools.verify.limit=3",
        "pools.mine.gpus=2",
        "stages.verify.pool=mine",
        "stages.verify.stopping.policy=median",
    ]
    settings = settings_from(compose(["+campaign=linear_attn", *given]))
    assert settings.pools["verify"].limit == 3
    assert settings.pools["mine"].gpus == 2
    assert (settings.stages["verify"].pool, settings.stages["verify"].stopping.policy) == ("mine", "median")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("pools.verify.limt=3", "unknown key pools.verify.limt: did you mean 'limit'"),
        ("pools.explore.cpus=-1", "pools.explore.cpus is -1"),
        ("pools.explore.gpus=1.5", "pools.explore.gpus is 1.5: above one card only whole ones can be had"),
    ],
)
def test_a_pool_that_is_none_is_told_by_name(given: str, told: str) -> None:
    with pytest.raises(UsageError, match=re.escape(told)):
        settings_from(compose(["+campaign=linear_attn", given]))


def test_a_deterministic_campaign_looks_no_further_ahead_than_its_policy_looks_back() -> None:
    with pytest.raises(UsageError, match=r"flow\.look_ahead is 300, more than stages\.explore\.stopping\.most_peers"):
        settings_from(compose(["+campaign=linear_attn", "deterministic=true", "flow.look_ahead=300"]))


def test_in_deterministic_mode_nothing_is_stopped_above_the_first_stage() -> None:
    given = ["+campaign=linear_attn", "deterministic=true", "+stages.verify.stopping.policy=median"]
    with pytest.raises(UsageError, match=r"stages\.verify\.stopping\.policy is not none.*use none there"):
        settings_from(compose(given))


def test_in_a_submitted_job_nothing_may_lie_in_the_folder_that_ray_throws_away() -> None:
    job = {"RAY_JOB_CONFIG_JSON_ENV_VAR": "{}"}
    for override, key in (("run.name=x", "run.root"), ("checkpoints.uri=here", "checkpoints.uri")):
        values = compose(["+campaign=linear_attn", override, *(["run.root=/var/runs"] if key != "run.root" else [])])
        with pytest.raises(UsageError, match=rf"{key} is .* submitted Ray job.*{key}=s3://"):
            settings_from(values, environment=job)
    settings_from(compose(["+campaign=linear_attn", "run.root=s3://b/runs"]), environment=job)


def test_a_scheme_in_capitals_is_told() -> None:
    with pytest.raises(UsageError, match=r"run\.root: S3://b/runs: write the scheme in small letters, s3://"):
        settings_from(compose(["+campaign=linear_attn", "run.root=S3://b/runs"]))
