"""Which language models a campaign has: by choice, by what the environment offers, or by a recorded campaign."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

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
    if values.get("name") == _AUTO and values.get("transcript") is None:
        provider = provider_in(environment)
        values["name"] = provider or "none"
        if provider is not None:
            chosen = yaml.safe_load((conf / "llm" / f"{provider}.yaml").read_text())
            values["models"] = _over(chosen["models"], values.get("models") or {})
            roles = {role: dict(settings) for role, settings in values.get("roles", {}).items()}
            for role, settings in chosen["roles"].items():
                if not roles.get(role, {}).get("models"):
                    roles.setdefault(role, {}).update(settings)
            values["roles"] = roles
    models = values.get("models")
    if isinstance(models, Mapping) and values.get("transcript") is None:
        local = values.get("name") == "local"
        values["models"] = {name: _served(model, environment, local=local) for name, model in models.items()}
    return values


def _over(chosen: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The provider's models with what was set on the command line over them."""
    merged: dict[str, Any] = {name: dict(model) for name, model in chosen.items()}
    for name, model in own.items():
        merged[name] = {**merged.get(name, {}), **model} if isinstance(model, Mapping) else model
    return merged


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
        return tuple(Reader(settings.transcript).rows(LlmCall))
    except ValueError as error:
        raise UsageError(f"llm.transcript={settings.transcript} cannot be read: {error}") from error


def _served(model: Any, environment: Mapping[str, str], *, local: bool) -> Any:
    """A server's address from the environment, and the model that it offers, where they are left open."""
    if not isinstance(model, Mapping) or not (local or model.get("model") == _AUTO):
        return model
    api_base = model.get("api_base") or api_base_in(environment)
    if api_base is None:
        raise ValueError(
            "no model server is named: set OPENAI_API_BASE or llm.models.served.api_base=http://HOST:PORT/v1"
        )
    if urlsplit(api_base).username is not None:
        raise ValueError(
            "the model server's address holds a user or a password: put the key into OPENAI_API_KEY instead"
        )
    name = model.get("model", _AUTO)
    return {**model, "api_base": api_base, "model": served_model(api_base, environment) if name == _AUTO else name}
