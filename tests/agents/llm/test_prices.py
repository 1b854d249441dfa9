from __future__ import annotations

import pytest

from agents.llm.prices import FREE, actual_usd, price_of, worst_cost
from agents.llm.secrets import redacted, secrets_in
from agents.llm.settings import LlmSettings, ModelSettings, Price, RoleSettings, is_loopback


def test_a_stated_price_counts_before_all_others() -> None:
    stated = Price(input=1, output=2)
    assert price_of(ModelSettings(model="openai/gpt-5.4", price=stated)) == stated
    assert price_of(ModelSettings(model="openai/x", api_base="http://127.0.0.1:1/v1", price=stated)) == stated


@pytest.mark.parametrize("base", ["http://127.0.0.1:11434", "http://localhost:8000/v1", "http://[::1]:1/v1"])
def test_what_runs_on_this_machine_costs_nothing(base: str) -> None:
    assert is_loopback(base)
    assert price_of(ModelSettings(model="openai/unheard-of", api_base=base)) == FREE


def test_listed_models_have_their_price_with_or_without_the_provider() -> None:
    for name in ("anthropic/claude-haiku-4-5", "openai/gpt-5.4-mini", "gemini/gemini-3.5-flash"):
        price = price_of(ModelSettings(model=name))
        assert 0 < price.input < price.output < 100
        assert price.cached is not None
        assert price.cached < price.input


def test_an_unknown_price_is_an_error_until_stated_or_waived() -> None:
    model = ModelSettings(model="openai/unheard-of", api_base="https://models.example/v1")
    with pytest.raises(ValueError, match=r"price of openai/unheard-of is not known: state it"):
        price_of(model)
    assert price_of(model, "waive") == FREE


def test_the_worst_cost_bounds_what_any_tokeniser_makes_of_a_text() -> None:
    price = Price(input=10.0, output=30.0)
    worst = worst_cost(price, input_bytes=1000, max_output_tokens=100)
    actual = actual_usd(price, input_tokens=500, cached_tokens=0, written_tokens=500, output_tokens=100)
    assert actual <= worst.usd < 1.1 * actual
    assert worst.tokens >= 600


def test_cached_tokens_cost_their_own_price() -> None:
    price = Price(input=10.0, output=0.0, cached=1.0)
    usd = actual_usd(price, input_tokens=1_000_000, cached_tokens=900_000, written_tokens=0, output_tokens=0)
    assert usd == pytest.approx(0.1 * 10 + 0.9 * 1)


def test_secrets_are_told_by_name_and_length() -> None:
    found = secrets_in(
        {"OPENAI_API_KEY": "sk-abcdefgh", "WANDB_API_KEY": "x", "PATH": "/usr/bin/long", "MY_TOKEN": "t" * 9}
    )
    assert set(found) == {"OPENAI_API_KEY", "MY_TOKEN"}
    assert redacted("key sk-abcdefgh!", found) == "key [OPENAI_API_KEY]!"


@pytest.mark.parametrize(
    ("build", "told"),
    [
        (lambda: LlmSettings(name="x", roles={"poet": RoleSettings()}), "known roles"),
        (lambda: LlmSettings(name="x", roles={"judge": RoleSettings(models={"a": 1})}), "not in llm.models"),
        (
            lambda: LlmSettings(name="x", models={"a": ModelSettings(model="m"), "b": ModelSettings(model="m")}),
            "llm.models has m twice",
        ),
        (lambda: LlmSettings(name="x", modes={"dream": 1}), "modes are refine"),
        (lambda: ModelSettings(model="m", structured="xml"), "use one of auto, schema"),
        (lambda: ModelSettings(model="m", concurrency=0), "concurrency of m is 0"),
        (lambda: RoleSettings(choice="luck"), "choice is 'luck'"),
        (lambda: Price(input=-1, output=0), r"price.input is -1"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_value(build, told) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=told):
        build()
