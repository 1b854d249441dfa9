"""Which models the environment offers: keys by their usual names, and a server that somebody runs."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from urllib.parse import urlsplit

from agents.llm.settings import ModelSettings, is_loopback

# The first that is set decides; conf/llm has a file of each name.
PROVIDERS: Mapping[str, tuple[str, ...]] = {
    "local": ("OPENAI_API_BASE", "OPENAI_BASE_URL"),
    "anthropic": ("ANTHROPIC_API_KEY",),
    "openai": ("OPENAI_API_KEY",),
    "gemini": ("GEMINI_API_KEY",),
}
_PATIENCE_S = 5.0


def provider_in(environment: Mapping[str, str]) -> str | None:
    """The provider that `llm=auto` takes; None: there is no key and no server."""
    if api_base_in(environment) is not None:
        return "local"
    keys = ((name, variables) for name, variables in PROVIDERS.items() if name != "local")
    return next((name for name, variables in keys if any(environment.get(variable) for variable in variables)), None)


def api_base_in(environment: Mapping[str, str]) -> str | None:
    """The address of an OpenAI-compatible server; OpenAI's own is none, its key says all."""
    found = next((environment[name] for name in PROVIDERS["local"] if environment.get(name)), None)
    return None if found is None or urlsplit(found).hostname == "api.openai.com" else found


def missing_key(model: ModelSettings, environment: Mapping[str, str]) -> str | None:
    """The variable that this model's provider wants and nobody has set; None where none is known to be missing."""
    provider = model.model.partition("/")[0]
    if model.api_base is not None or provider == "local":
        return None
    wanted = PROVIDERS.get(provider, ())
    return None if not wanted or any(environment.get(name) for name in wanted) else wanted[0]


def served_model(api_base: str, environment: Mapping[str, str]) -> str:
    """The first model that a server offers, as LiteLLM names it.

    Raises:
        ValueError: nobody answers there, or no model is offered.
    """
    if not api_base.startswith(("http://", "https://")):
        raise ValueError(f"the model server's address is {api_base!r}: give it as http://HOST:PORT/v1")
    request = urllib.request.Request(f"{api_base.rstrip('/')}/models")  # http or https, see above
    if key := environment.get("OPENAI_API_KEY"):
        request.add_header("Authorization", f"Bearer {key}")
    opener = urllib.request.build_opener(*([urllib.request.ProxyHandler({})] if is_loopback(api_base) else []))
    try:
        with opener.open(request, timeout=_PATIENCE_S) as response:
            offered = json.load(response)["data"]
            names = [str(item["id"]) for item in offered]
    except (OSError, ValueError, KeyError, TypeError, urllib.error.URLError) as error:
        raise ValueError(
            f"no list of models can be had from {api_base} ({error}): start the server, or name its model with "
            "llm=local llm.models.served.model=openai/NAME, or choose llm=none"
        ) from error
    if not names or not names[0].strip() or not names[0].isprintable():
        raise ValueError(f"the server at {api_base} offers no model: load one, or choose llm=none")
    return f"openai/{names[0]}"
