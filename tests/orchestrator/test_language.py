"""Which models and arms a campaign has, from the environment and the configuration; what readers are told."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from agents.llm.settings import LlmSettings, Price
from cognition.records import Calibration, ReportKind
from orchestrator.config import Settings, compose, settings_from
from orchestrator.errors import UsageError
from orchestrator.estimate import estimate
from orchestrator.language_steps import drift_of
from orchestrator.reading import mode_of, over_built, stagnates
from orchestrator.rewards import proposal_reward, repair_reward, rewards_for
from orchestrator.terminal import models_line
from tests.agents.readers import OLD, OTHER, PARENT
from tests.model_server.brain import answer
from tests.model_server.server import ModelServer


def settings(*overrides: str, **environment: str) -> Settings:
    return settings_from(compose(("+campaign=linear_attn", "scale=tiny", *overrides)), environment=environment)


def test_without_key_or_server_every_role_is_built_in() -> None:
    found = settings()
    assert found.llm.name == "none"
    assert found.arms.drawn == ("grammar", "random")
    assert models_line(found).startswith("none: every role is built in")
    assert estimate(found, 2).usd == 0.0


@pytest.mark.parametrize(
    ("variable", "provider", "model"),
    [
        ("OPENAI_API_KEY", "openai", "openai/"),
        ("ANTHROPIC_API_KEY", "anthropic", "anthropic/"),
        ("GEMINI_API_KEY", "gemini", "gemini/"),
    ],
)
def test_a_key_brings_its_models_for_every_role_and_a_control_beside_them(
    variable: str, provider: str, model: str
) -> None:
    found = settings(**{variable: "sk-0123456789"})
    assert found.llm.name == provider
    assert all(known.model.startswith(model) for known in found.llm.models.values())
    assert all(found.llm.plays(role) for role in ("researcher", "engineer", "judge", "analyst", "summary"))
    assert {"llm", "grammar", "random"} == set(found.arms.drawn)
    assert 0 < estimate(found, 2).usd < 20
    assert "sk-0123456789" not in repr(found)
    assert model in models_line(found)


def test_a_server_is_asked_for_its_model() -> None:
    with ModelServer(answer, models=("qwen-coder", "other")) as server:
        found = settings(OPENAI_API_BASE=server.url)
        (model,) = found.llm.models.values()
        assert (model.model, model.api_base) == ("openai/qwen-coder", server.url)
        named = settings(
            "llm=local", f"llm.models.served.api_base={server.url}", "llm.models.served.model=openai/other"
        )
        assert next(iter(named.llm.models.values())).model == "openai/other"


@pytest.mark.parametrize(
    ("overrides", "environment", "told"),
    [
        ((), {"OPENAI_API_BASE": "http://127.0.0.1:9/v1"}, "no list of models can be had from http://127.0.0.1:9/v1"),
        ((), {"OPENAI_API_BASE": "localhost:8000"}, "give it as http://HOST:PORT/v1"),
        (("llm=local",), {}, "no model server is named"),
        (("arms=llm",), {}, "arm 'llm' needs a language model and there is none"),
        (("arms=transcript",), {}, "name it with llm.transcript=runs/OLD"),
        (("llm.transcript=/nowhere",), {}, "not a campaign's folder"),
        (("arms=mix",), {}, "at least one arm needs a weight"),
        (
            (
                "llm=openai",
                "+llm.models.strong.api_base=https://proxy.example/v1",
                "llm.models.strong.model=openai/mine",
            ),
            {"OPENAI_API_KEY": "sk-0123456789"},
            "price of openai/mine is not known",
        ),
        (("llm.calibration=[foo]",), {}, "llm.calibration: it has 'foo'"),
        (("llm=local", "llm.models.served.api_base=http://me:secret@host/v1"), {}, "holds a user or a password"),
        (("campaign.anchors={transformer: 5}",), {}, "campaign.anchors"),
        (("budget.tokens=-1",), {}, "budget.tokens is -1"),
        (("llm=openai",), {}, "needs OPENAI_API_KEY in the environment"),
        (("llm=anthropic",), {"OPENAI_API_KEY": "sk-0123456789"}, "needs ANTHROPIC_API_KEY in the environment"),
        (("llm.modes.refine=-1",), {}, "llm.modes.refine"),
        (("fitness.opinion_share=2",), {}, "opinion_share is 2"),
    ],
)
def test_what_cannot_be_is_one_line_with_the_remedy(
    overrides: tuple[str, ...], environment: dict[str, str], told: str
) -> None:
    with pytest.raises(UsageError) as error:
        settings(*overrides, **environment)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_set_of_a_model_stands_over_what_its_key_brings() -> None:
    price = "+llm.models.strong.price={input: 1, output: 2}"
    found = settings(price, "+llm.models.strong.concurrency=2", OPENAI_API_KEY="sk-0123456789")
    strong = found.llm.models["strong"]
    assert (strong.concurrency, strong.price and strong.price.output) == (2, 2.0)
    assert strong.model.startswith("openai/")
    named = settings("llm=local", "llm.models.served.model=openai/m", OPENAI_API_BASE="http://127.0.0.1:9/v1")
    assert named.llm.models["served"].api_base == "http://127.0.0.1:9/v1"


def test_openais_own_address_is_no_server_of_somebody() -> None:
    found = settings(OPENAI_API_BASE="https://api.openai.com/v1", OPENAI_API_KEY="sk-0123456789")
    assert found.llm.name == "openai"


def test_no_model_is_a_choice_too() -> None:
    assert settings("llm=none", OPENAI_API_KEY="sk-0123456789").arms.drawn == ("grammar", "random")


def test_an_embedder_is_named_on_the_command_line_and_found_at_the_server() -> None:
    assert settings().llm.embedding.model is None
    found = settings("llm.embedding.model=openai/text-embedding-3-small", "llm.embedding.price={input: 1, output: 0}")
    assert found.llm.embedding.as_model is not None
    assert found.llm.embedding.as_model.price == Price(input=1.0, output=0.0)
    with pytest.raises(UsageError, match=r"price of openai/unheard-of is not known.*llm\.embedding\.price"):
        settings("llm.embedding.model=openai/unheard-of")
    with ModelServer(answer) as server:
        served = settings("llm=none", "llm.embedding.model=nomic", OPENAI_API_BASE=server.url).llm.embedding
    assert (served.model, served.api_base) == ("openai/nomic", server.url)


def test_own_mixtures_and_inboxes_need_no_model() -> None:
    assert settings("arms=mix", "+arms.weights.inbox=1", "+arms.weights.grammar=2").arms.drawn == ("grammar", "inbox")
    assert settings("arms=inbox").arms.drawn == ("inbox",)
    assert set(settings("arms=ablation", OPENAI_API_KEY="sk-0123456789").arms.drawn) == {
        *("llm", "llm_no_cognition", "llm_no_analysis", "grammar", "random"),
    }


def test_modes_are_drawn_by_weight_and_stagnation_explores() -> None:
    llm = LlmSettings(name="t", stagnation=3)
    drawn = [mode_of(llm, (), 0, True, np.random.default_rng(seed)) for seed in range(600)]
    assert drawn.count("refine") / 600 == pytest.approx(0.5, abs=0.08)
    assert {"combine", "simplify", "explore", "repair"} < set(drawn)
    assert "repair" not in {mode_of(llm, (), 0, False, np.random.default_rng(seed)) for seed in range(200)}
    members = [
        dataclasses.replace(OLD, candidate=dataclasses.replace(OLD.candidate, number=number)) for number in range(1, 9)
    ]
    assert stagnates(members, 1, 3)
    assert not stagnates([*members[:-1], dataclasses.replace(members[-1], verdict=PARENT.verdict)], 1, 3)
    assert not stagnates(members[:3], 1, 3)
    stuck = [mode_of(llm, members, 1, True, np.random.default_rng(seed)) for seed in range(400)]
    assert stuck.count("explore") / 400 > 0.45


def test_what_is_simplified_is_good_and_dear() -> None:
    assert PARENT.report is not None
    dear = dataclasses.replace(OTHER, report=dataclasses.replace(PARENT.report, flops_per_token=9e9))
    assert over_built([PARENT, dear, OLD, OLD]) == dear
    assert over_built([]) is None


def test_a_proposal_is_worth_how_far_it_came() -> None:
    report, verdict = PARENT.report, PARENT.verdict
    assert report is not None
    assert verdict is not None
    refused = dataclasses.replace(report, kind=ReportKind.refused)
    failed = dataclasses.replace(PARENT.trials[0], status=PARENT.trials[0].status.__class__.failed)
    candidate = PARENT.candidate
    assert proposal_reward(candidate, refused, (), None, OLD)[0] == 0.0
    assert proposal_reward(candidate, report, (failed,), None, OLD)[0] == 0.25
    assert proposal_reward(candidate, report, PARENT.trials, verdict, OLD)[0] == 1.0
    worse = dataclasses.replace(verdict, loss=9.0)
    assert proposal_reward(candidate, report, PARENT.trials, worse, OLD)[0] == 0.5
    unbelieved = dataclasses.replace(verdict, fitness=None)
    assert proposal_reward(candidate, report, PARENT.trials, unbelieved, OLD)[0] == 0.25
    assert repair_reward(report, PARENT.trials)[0] == 1.0
    assert repair_reward(refused, ())[0] == 0.0


def test_whoever_was_asked_in_vain_pays_too() -> None:
    rows = rewards_for("researcher", 7, 0, {"a": 0.5, "b": 0.1}, "b", 1.0, "better")
    assert [(row.model, row.reward, row.usd) for row in rows] == [("a", 0.0, 0.5), ("b", 1.0, 0.1)]


def test_drift_is_how_far_the_same_designs_have_moved() -> None:
    rows = [
        Calibration(round=turn, name=name, candidate_id="c", opinion=opinion)
        for turn, name, opinion in ((0, "a", 4.0), (0, "b", 6.0), (1, "a", 5.0), (1, "b", 9.0), (1, "c", 1.0))
    ]
    assert drift_of(rows, 1) == {"mean": 2.0, "largest": 3.0, "num": 2.0}
    assert drift_of(rows[:2], 1) is None


def test_every_provider_file_is_whole(tmp_path: Path) -> None:
    for name in ("openai", "anthropic", "gemini"):
        found = settings(f"llm={name}", **{f"{name.upper()}_API_KEY": "sk-0123456789"})
        assert {role for role in found.llm.roles if found.llm.plays(role)} == {
            *("researcher", "engineer", "judge", "analyst", "summary"),
        }
