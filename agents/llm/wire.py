"""One call over LiteLLM: a request in, a completion or a typed failure out. The only module that knows LiteLLM.

It makes exactly one HTTP request for one `send` or `embed`: retries are the callers', so that every attempt is in the
books.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import math
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import BaseModel

from agents.llm.settings import ModelSettings
from cognition.records import CallOutcome, LlmCall

Message = Mapping[str, str]

_QUOTA = ("insufficient_quota", "exceeded your current quota", "credit balance", "payment required")
_OPTIONAL = ("encoding_format", "response_format", "temperature", "tools", "tool_choice")
_MOST_TOKENS = 10**9  # no call has more
_GRACE_S = 5.0  # beyond the time-out that the HTTP client is given


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is sent. `call` is its row, which a recorded line looks its answer up by."""

    messages: Sequence[Message]
    form: type[BaseModel] | None
    temperature: float
    max_output_tokens: int
    call: LlmCall


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What came back, with the provider's own figures."""

    text: str
    cut_off: bool = False  # ended by the limit of output tokens
    input_tokens: int = 0
    cached_tokens: int = 0
    written_tokens: int = 0  # written to the provider's cache
    output_tokens: int = 0
    model: str | None = None  # where it is not the one that was asked: a recording's


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """Vectors as they came, in the order of the texts; nothing but their number is checked."""

    vectors: tuple[tuple[float, ...], ...]
    input_tokens: int = 0


class CallFailed(Exception):
    """A call without a completion.

    Attributes:
        outcome: how it ended; `detail` in words.
        retry_after_s: what the provider asked for; None: nothing.
        drop: the name of a parameter that the model does not take: the same call without it may work.
        hopeless: no other question will be answered either, before somebody has mended the key or the account.
    """

    def __init__(
        self,
        outcome: CallOutcome,
        detail: str,
        *,
        retry_after_s: float | None = None,
        drop: str | None = None,
        hopeless: bool = False,
    ) -> None:
        super().__init__(f"{outcome.value}: {detail}")
        self.hopeless = hopeless
        self.outcome, self.detail, self.retry_after_s, self.drop = outcome, detail, retry_after_s, drop

    @property
    def worth_retrying(self) -> bool:
        """The same request may well be answered next time."""
        return self.outcome in (
            *(CallOutcome.rate_limited, CallOutcome.server_error, CallOutcome.timeout, CallOutcome.dropped),
        )


class Line(Protocol):
    """Where completions come from: a provider, or a recording."""

    async def send(self, model: ModelSettings, request: Request) -> Completion:
        """One call. Raises CallFailed."""
        ...


class LiteLlmLine:
    """Any provider that LiteLLM speaks to. It is imported at the first call: that takes four seconds."""

    def __init__(self) -> None:
        self._refused: dict[str, set[str]] = {}  # parameters that a model turned out not to take
        self._known_before: set[str] | None = None  # LiteLLM's clients before the first call

    async def send(self, model: ModelSettings, request: Request) -> Completion:
        litellm = await self._ready()
        asked = _arguments(litellm, model, request, self._refused.get(model.model, set()))
        return _completion(await self._answer(litellm.acompletion, model, asked))

    async def embed(self, model: ModelSettings, texts: Sequence[str]) -> Embedded:
        """Vectors of texts. Raises CallFailed."""
        litellm = await self._ready()
        asked = {"input": list(texts), "encoding_format": "float", **_reached(model)}
        refused = self._refused.get(model.model, set())
        asked = {name: value for name, value in asked.items() if name not in refused}
        return _embedded(await self._answer(litellm.aembedding, model, asked), len(texts))

    async def _ready(self) -> Any:
        litellm = await asyncio.to_thread(_litellm)
        if self._known_before is None:
            self._known_before = set(litellm.in_memory_llm_clients_cache.cache_dict)
        return litellm

    async def _answer(self, call: Callable[..., Awaitable[Any]], model: ModelSettings, asked: Mapping[str, Any]) -> Any:
        try:
            async with asyncio.timeout(model.timeout_s + _GRACE_S):
                return await call(**asked)
        except TimeoutError:
            raise CallFailed(CallOutcome.timeout, f"no answer within {model.timeout_s:g} s") from None
        except Exception as error:  # the boundary to LiteLLM: its providers throw what they like
            failure = failure_of(error, asked)
            if failure.drop is not None:
                self._refused.setdefault(model.model, set()).add(failure.drop)
            raise failure from error

    async def hang_up(self) -> None:
        """Close the connections that were opened since: for commands, whose event loop ends before their process."""
        if self._known_before is None:
            return
        cache = (await asyncio.to_thread(_litellm)).in_memory_llm_clients_cache
        for key in set(cache.cache_dict) - self._known_before:
            client = cache.cache_dict[key]
            cache.delete_cache(key)
            closing = getattr(client, "aclose", None) or getattr(client, "close", None)
            result = None if closing is None else closing()
            if inspect.isawaitable(result):
                await result
        self._known_before = None


def failure_of(error: Exception, asked: Mapping[str, Any] | None = None) -> CallFailed:
    """What LiteLLM's exception says, told apart by what is known of money: was the call answered?

    A status from the server comes with its headers; LiteLLM also reports broken connections and broken bodies as status
    500, without: those count as unanswered, as does everything that cannot be told.
    """
    text = str(error).strip() or type(error).__name__
    first = text.splitlines()[0][:500]
    status = getattr(error, "status_code", None)
    headers = getattr(error, "litellm_response_headers", None) or getattr(
        getattr(error, "response", None), "headers", None
    )
    if type(error).__name__ == "Timeout":
        return CallFailed(CallOutcome.timeout, first)
    if status == 429 or status == 402:
        if status == 402 or any(word in text.lower() for word in _QUOTA):
            return CallFailed(CallOutcome.quota, first, hopeless=True)
        return CallFailed(CallOutcome.rate_limited, first, retry_after_s=_retry_after(headers))
    if status == 408 and headers:
        return CallFailed(CallOutcome.server_error, first, retry_after_s=_retry_after(headers))
    if isinstance(status, int) and 400 <= status < 500 and status != 408:
        return CallFailed(CallOutcome.rejected, first, drop=_blamed(text, asked or {}), hopeless=status in (401, 403))
    if _never_sent(error):
        return CallFailed(CallOutcome.server_error, f"no connection: {first}")
    if isinstance(status, int) and status >= 500 and headers:
        return CallFailed(CallOutcome.server_error, first, retry_after_s=_retry_after(headers))
    return CallFailed(CallOutcome.dropped, first)


def _never_sent(error: BaseException) -> bool:
    """Nobody was reached, so that nothing can be owed."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if type(cause).__name__ in ("ConnectError", "ConnectTimeout", "ConnectionRefusedError", "gaierror"):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _blamed(text: str, asked: Mapping[str, Any]) -> str | None:
    """The optional parameter that a provider complains about, if it was sent."""
    return next((name for name in _OPTIONAL if name in asked and name in text), None)


def _retry_after(headers: Any) -> float | None:
    value = None if headers is None else headers.get("retry-after")
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        return _until(value, headers.get("date"))
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _until(date: str, sent: str | None) -> float | None:
    """Seconds until an HTTP date, by the clock of the server, which stamped its answer, where it did."""
    from email.utils import parsedate_to_datetime

    try:
        now = parsedate_to_datetime(sent).timestamp() if sent else time.time()
        return max(0.0, parsedate_to_datetime(date).timestamp() - now)
    except (ValueError, TypeError):
        return None


def _arguments(litellm: Any, model: ModelSettings, request: Request, refused: set[str]) -> dict[str, Any]:
    asked: dict[str, Any] = {
        "messages": _messages(model, request.messages),
        "max_tokens": request.max_output_tokens,
        **_reached(model),
    }
    if model.temperature:
        asked["temperature"] = request.temperature
    if request.form is not None:
        how = _structured(litellm, model)
        if how == "schema" and "response_format" not in refused:
            asked["response_format"] = request.form
        elif how == "tool" and "tools" not in refused:
            schema = {"name": request.form.__name__, "parameters": request.form.model_json_schema()}
            asked["tools"] = [{"type": "function", "function": schema}]
            asked["tool_choice"] = {"type": "function", "function": {"name": request.form.__name__}}
            asked["_skip_mcp_handler"] = True
    return {name: value for name, value in asked.items() if name not in refused}


def _reached(model: ModelSettings) -> dict[str, Any]:
    """What every call of a model has: where it is, how long it may take, and that it is made once."""
    asked: dict[str, Any] = {
        "model": model.model,
        "timeout": model.timeout_s,
        "max_retries": 0,
        "num_retries": 0,
        "drop_params": True,  # of those that LiteLLM knows the model not to take
    }
    if model.api_base is not None:
        asked["api_base"] = model.api_base
        if model.loopback and not os.environ.get("OPENAI_API_KEY"):
            asked["api_key"] = "none"  # local servers want some key
    return asked


def _structured(litellm: Any, model: ModelSettings) -> str:
    """How a typed reply is asked for; the prompt has the schema in words whatever this says."""
    if model.structured != "auto":
        return model.structured
    if model.loopback or litellm.supports_response_schema(model=model.model):
        return "schema"
    return "tool" if litellm.supports_function_calling(model=model.model) else "text"


def _messages(model: ModelSettings, messages: Sequence[Message]) -> list[dict[str, Any]]:
    """As they are; Anthropic's models get a mark behind the system text, from where on they cache. Others need none."""
    if not any(word in model.model for word in ("anthropic", "claude")):
        return [dict(message) for message in messages]
    marked: list[dict[str, Any]] = []
    for message in messages:
        content: Any = message["content"]
        if message["role"] == "system":
            content = [{"type": "text", "text": content, "cache_control": {"type": "ephemeral"}}]
        marked.append({"role": message["role"], "content": content})
    return marked


def _completion(response: Any) -> Completion:
    choices = getattr(response, "choices", None)
    usage = getattr(response, "usage", None)
    if not choices or usage is None:
        raise CallFailed(CallOutcome.dropped, "the answer has no choices or no usage figures")
    message = choices[0].message
    text = message.content or ""
    calls = getattr(message, "tool_calls", None)
    if calls and not text.strip():
        text = calls[0].function.arguments or ""
    details = getattr(usage, "prompt_tokens_details", None)
    return Completion(
        text=text,
        cut_off=choices[0].finish_reason == "length",
        input_tokens=_count(usage.prompt_tokens),
        cached_tokens=_count(getattr(details, "cached_tokens", 0)),
        written_tokens=_count(getattr(usage, "cache_creation_input_tokens", 0)),
        output_tokens=_count(usage.completion_tokens),
    )


def _embedded(response: Any, num_texts: int) -> Embedded:
    """The vectors by their index: an answer need not keep the order."""
    try:
        rows = {int(row["index"]): tuple(float(figure) for figure in row["embedding"]) for row in response.data}
        tokens = _count(response.usage.prompt_tokens)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise CallFailed(CallOutcome.dropped, f"the answer holds no vectors ({type(error).__name__})") from error
    if sorted(rows) != list(range(num_texts)):
        raise CallFailed(CallOutcome.dropped, f"{num_texts} vectors were asked for and {len(rows)} came")
    return Embedded(vectors=tuple(rows[place] for place in range(num_texts)), input_tokens=tokens)


def _count(figure: Any) -> int:
    """A provider's count of tokens, as far as it can be one."""
    return min(_MOST_TOKENS, max(0, int(figure or 0)))


@functools.cache
def _litellm() -> Any:
    """LiteLLM, quiet and offline: its own price list, no telemetry, nothing printed."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm

    litellm.suppress_debug_info = True
    litellm.telemetry = False
    # Embeddings take max_retries=0 for "not set": without this they repeat calls that no row tells of.
    litellm.DEFAULT_MAX_RETRIES = 0  # type: ignore[attr-defined]
    logging.getLogger("LiteLLM").setLevel(logging.ERROR)  # it warns of event loops that changed, and the like
    return litellm
