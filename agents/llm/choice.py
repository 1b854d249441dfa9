"""Which models are asked: by name, or by what the environment offers and conf/llm says of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from agents.llm.found import api_base_in, missing_key, provider_in, served_model
from agents.llm.settings import ModelSettings, Price

CONF = Path(__file__).resolve().parents[2] / "conf"
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
    embedding = values.get("embedding")
    if isinstance(embedding, Mapping) and values.get("transcript") is None:
        values["embedding"] = _reached(embedding, environment)
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


def _served(model: Any, environment: Mapping[str, str], *, local: bool) -> Any:
    """A server's address from the environment, and the model that it offers, where they are left open."""
    if not isinstance(model, Mapping) or not (local or model.get("model") == _AUTO):
        return model
    api_base = model.get("api_base") or api_base_in(environment)
    if api_base is None:
        raise ValueError(
            "no model server is named: set OPENAI_API_BASE or llm.models.served.api_base=http://HOST:PORT/v1"
        )
    require_open(api_base)
    name = model.get("model", _AUTO)
    return {**model, "api_base": api_base, "model": served_model(api_base, environment) if name == _AUTO else name}


def _reached(embedding: Mapping[str, Any], environment: Mapping[str, str]) -> Mapping[str, Any]:
    """An embedder with the address of the server that serves it, where its name is of the server's kind."""
    name = embedding.get("model")
    if not isinstance(name, str) or embedding.get("api_base") is not None:
        return embedding
    model = _placed(name, environment)
    return {**embedding, "model": model.model, "api_base": model.api_base}


def model_named(name: str, environment: Mapping[str, str]) -> ModelSettings:
    """A model by LiteLLM's name; a name of OpenAI's kind is the server's that the environment names, if it names one.

    Raises:
        ValueError: its key is not there, or the server's address holds a password.
    """
    return _with_key(_placed(name, environment), environment)


def _placed(name: str, environment: Mapping[str, str]) -> ModelSettings:
    api_base = api_base_in(environment)
    if api_base is None or name.partition("/")[0] not in ("openai", name):
        return ModelSettings(model=name)
    require_open(api_base)
    return ModelSettings(model=name if "/" in name else f"openai/{name}", api_base=api_base)


def model_offered(environment: Mapping[str, str], conf: Path = CONF) -> ModelSettings | None:
    """The model that researches by default with what the environment offers; None: it offers nothing.

    Raises:
        ValueError: a server is named and does not answer.
    """
    values = with_provider({"name": _AUTO}, conf, environment)
    models = values.get("models") or {}
    if not models:
        return None
    weights: Mapping[str, float] = values["roles"]["researcher"]["models"]
    chosen = dict(models[max(weights, key=lambda name: weights[name])])
    price = chosen.pop("price", None)
    return _with_key(ModelSettings(**chosen, price=Price(**price) if price else None), environment)


def require_open(api_base: str) -> None:
    """Raise ValueError where an address holds a user or a password: addresses are printed and kept."""
    if urlsplit(api_base).username is not None:
        raise ValueError(
            "the model server's address holds a user or a password: put the key into OPENAI_API_KEY instead"
        )


def _with_key(model: ModelSettings, environment: Mapping[str, str]) -> ModelSettings:
    variable = missing_key(model, environment)
    if variable is not None:
        raise ValueError(f"{model.model} needs {variable} in the environment: set it, or name another model")
    return model
