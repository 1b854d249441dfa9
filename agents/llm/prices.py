"""What models cost: as configured, nothing on loopback, else LiteLLM's list, read offline."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from agents.ledger import Cost
from agents.llm.settings import LlmSettings, ModelSettings, Price

FREE = Price(input=0.0, output=0.0, cached=0.0)
_MILLION = 1_000_000
_CACHE_WRITE = 1.25  # providers that charge for writing a cache entry charge a quarter more than for other input


def prices_of(settings: LlmSettings) -> dict[str, Price]:
    """The price of every model, by the name that LiteLLM gives it.

    Raises:
        ValueError: the price of one is unknown, and that was not waived.
    """
    return {model.model: price_of(model, settings.unknown_price) for model in settings.every_model}


def price_of(model: ModelSettings, unknown: str = "error") -> Price:
    """One model's price; ValueError where nobody knows it and `unknown` is "error"."""
    if model.price is not None:
        return model.price
    if model.loopback:
        return FREE
    listed = _listed(model.model)
    if listed is not None:
        return listed
    if unknown == "waive":
        return FREE
    raise ValueError(
        f"the price of {model.model} is not known: state it in US dollars per million tokens with "
        "'+llm.models.NAME.price={input: X, output: Y}' (an embedder's with 'llm.embedding.price=...'), or count it as "
        "free with llm.unknown_price=waive"
    )


def worst_cost(price: Price, input_bytes: int, max_output_tokens: int) -> Cost:
    """An upper bound before the call: a token for every two bytes, written to a cache, and the longest answer."""
    tokens = worst_input_tokens(input_bytes)
    usd = (tokens * price.input * _CACHE_WRITE + max_output_tokens * price.output) / _MILLION
    return Cost(usd=usd, tokens=tokens + max_output_tokens)


def worst_input_tokens(input_bytes: int) -> int:
    """More tokens than any tokeniser makes of so many bytes of text."""
    return (input_bytes + 1) // 2 + 16


def actual_usd(
    price: Price, *, input_tokens: int, cached_tokens: int, written_tokens: int, output_tokens: int
) -> float:
    """What a call cost, in US dollars.

    `input_tokens` includes the cached ones and those written to the provider's cache.
    """
    fresh = max(0, input_tokens - cached_tokens - written_tokens)
    cached = price.input if price.cached is None else price.cached
    dollars = fresh * price.input + cached_tokens * cached + written_tokens * price.input * _CACHE_WRITE
    return (dollars + output_tokens * price.output) / _MILLION


def _listed(model: str) -> Price | None:
    """From the list that LiteLLM ships; importing LiteLLM for it would take four seconds."""
    names = [model, model.partition("/")[2]]
    entry = next((found for name in names if name and (found := _list().get(name)) is not None), None)
    if entry is None or "input_cost_per_token" not in entry or "output_cost_per_token" not in entry:
        return None
    cached = entry.get("cache_read_input_token_cost")
    return Price(
        input=float(entry["input_cost_per_token"]) * _MILLION,
        output=float(entry["output_cost_per_token"]) * _MILLION,
        cached=None if cached is None else float(cached) * _MILLION,
    )


@cache
def _list() -> Mapping[str, Any]:
    spec = find_spec("litellm")  # finds it without importing it
    if spec is None or not spec.submodule_search_locations:
        return {}
    path = Path(next(iter(spec.submodule_search_locations))) / "model_prices_and_context_window_backup.json"
    listed: Mapping[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return listed
