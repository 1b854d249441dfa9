"""Which language models a campaign has: by choice, by what the environment offers, or by a recorded campaign."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from agents.llm.found import api_base_in, missing_key, provider_in, served_model
from agents.llm.settings import LlmSettings, ModelSettings, Price
from cognition.reader import Reader
from cognition.records import LlmCall
from orchestrator.errors import UsageError
from orchestrator.run_folder import RunFolder

RECORDED = "recorded"  # the one model of a campaign that plays a transcript
_AUTO = "auto"


def with_provider(values: Mapping[str, Any], conf: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """Composed values of group llm, with `auto` resolved: models and their roles come from the provider's file.

    Raises:
        ValueError: a server is named in the environment and does not answer.
    """
    values = dict(values)
    if values.get("name") == _AUTO and values.get("transcript") is None and not values.get("models"):
        provider = provider_in(environment)
        values["name"] = provider or "none"
        if provider is not None:
            chosen = yaml.safe_load((conf / "llm" / f"{provider}.yaml").read_text())
            values["models"] = chosen["models"]
            roles = {role: dict(settings) for role, settings in values.get("roles", {}).items()}
            for role, settings in chosen["roles"].items():
                roles.setdefault(role, {}).update(settings)
            values["roles"] = roles
    models = values.get("models")
    if isinstance(models, Mapping) and values.get("transcript") is None:
        values["models"] = {name: _served(model, environment) for name, model in models.items()}
    return values


def require_keys(settings: LlmSettings, environment: Mapping[str, str]) -> None:
    """Raise ValueError where a model's provider wants a key that is not there: it would refuse every call."""
    for model in settings.models.values():
        variable = missing_key(model, environment)
        if variable is not None:
            raise ValueError(
                f"{model.model} needs {variable} in the environment: set it, or choose others with llm=..., or none "
                "with llm=none"
            )


def recorded(settings: LlmSettings) -> LlmSettings:
    """Where a transcript is named: the recorded campaign's settings, with the recording as every role's model.

    Raises:
        ValueError: there is no campaign in that folder, or it recorded no model.
    """
    if settings.transcript is None:
        return settings
    from orchestrator.config import read_record

    values = RunFolder.existing(settings.transcript).settings().get("llm")
    if not isinstance(values, dict):
        raise ValueError(f"llm.transcript: {settings.transcript} was made without language models, nothing is recorded")
    old = read_record(LlmSettings, values, "llm")
    roles = {
        role: dataclasses.replace(known, models={RECORDED: 1.0} if known.played else {})
        for role, known in old.roles.items()
    }
    model = ModelSettings(model=RECORDED, price=Price(input=0.0, output=0.0, cached=0.0), concurrency=64)
    return dataclasses.replace(
        old, name="transcript", models={RECORDED: model}, roles=roles, transcript=settings.transcript
    )


def recording_of(settings: LlmSettings) -> tuple[LlmCall, ...]:
    """The recorded calls; none without a transcript.

    Raises:
        UsageError: the recording cannot be read.
    """
    if settings.transcript is None:
        return ()
    try:
        return tuple(call for call in Reader(settings.transcript).rows(LlmCall) if call.outcome.charged)
    except ValueError as error:
        raise UsageError(f"llm.transcript={settings.transcript} cannot be read: {error}") from error


def _served(model: Any, environment: Mapping[str, str]) -> Any:
    """A server's address from the environment, and the model that it offers, where the file leaves them open."""
    if not isinstance(model, Mapping) or model.get("model") != _AUTO:
        return model
    api_base = model.get("api_base") or api_base_in(environment)
    if api_base is None:
        raise ValueError(
            "no model server is named: set OPENAI_API_BASE or llm.models.served.api_base=http://HOST:PORT/v1"
        )
    return {**model, "api_base": api_base, "model": served_model(api_base, environment)}
