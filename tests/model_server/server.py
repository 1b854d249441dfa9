"""An OpenAI-compatible HTTP server on loopback that answers from a script and fails on order.

It keeps its own books: what it was asked, which fault it played, and the tokens of every call that it answered in full.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

Answer = Callable[["Asked"], str]

# What a server, a network or a model does wrong; each is played by name.
FAULTS = (
    *("delay", "drop", "rate_limit", "server_error", "truncate", "malformed_body", "malformed_json"),
    *("wrong_fences", "empty", "prose", "refusal", "unknown_parameter", "huge"),
)
MORE_FAULTS = (
    "quota",
    "bad_key",
    "retry_tomorrow",
    "odd_usage",
    "surrogate",
)
_HUGE = 300_000  # characters in front of the answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request, as the script sees it."""

    number: int  # in the order of arrival
    model: str
    system: str
    user: str  # everything that is not the system's, joined
    body: dict[str, Any]

    def rng(self) -> np.random.Generator:
        """Drawn from what was asked: the same question has the same answer."""
        return np.random.default_rng(list(hashlib.sha256(self.user.encode()).digest()[:8]))


@dataclass(slots=True, kw_only=True)
class Served:
    """What became of one request."""

    asked: Asked
    fault: str | None = None
    answered: bool = False  # a complete body with usage left the server
    prompt_tokens: int = 0
    completion_tokens: int = 0
    content: str = ""


@dataclass(slots=True, kw_only=True)
class Books:
    """Everything that was served, in order."""

    served: list[Served] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answered(self) -> list[Served]:
        return [entry for entry in self.served if entry.answered]


class ModelServer:
    """Serves `/v1/chat/completions`, `/v1/embeddings` and `/v1/models`; use it as a context manager.

    Args:
        answer: the script.
        faults: chance of each fault, drawn one after another for each request: by what is asked, and how often it was
            before, so that it does not matter which of several requests arrives first.
        models: the names that it offers.
        delay_s: how long the fault `delay` keeps the client waiting.
        latency_s: how long every answer takes.
        num_dimensions: of the vectors.
    """

    def __init__(
        self,
        answer: Answer,
        *,
        faults: Mapping[str, float] | None = None,
        models: tuple[str, ...] = ("scripted-1",),
        delay_s: float = 5.0,
        latency_s: float = 0.0,
        num_dimensions: int = 64,
        seed: int = 0,
    ) -> None:
        unknown = set(faults or {}) - {*FAULTS, *MORE_FAULTS}
        assert not unknown, f"no such fault: {unknown}"
        self.answer, self.faults, self.models = answer, dict(faults or {}), models
        self.delay_s, self.latency_s, self.num_dimensions = delay_s, latency_s, num_dimensions
        self.books = Books()
        self.headers_seen: list[dict[str, str]] = []
        self._seed, self._num_asked = seed, Counter[tuple[str, str]]()
        self._http = _Server(("127.0.0.1", 0), _Handler)
        self._http.owner = self
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        """The API base, as OPENAI_API_BASE wants it."""
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def __enter__(self) -> ModelServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def draw_fault(self, asked: Asked) -> str | None:
        question = asked.system, asked.user
        digest = hashlib.sha256("\0".join(question).encode(errors="surrogatepass")).digest()
        rng = np.random.default_rng([self._seed, self._num_asked[question], *digest[:8]])
        self._num_asked[question] += 1
        for name, chance in self.faults.items():
            if rng.random() < chance:
                return name
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    owner: ModelServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients hang up; that is part of the play."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        owner = self.server.owner
        self._send(200, {"object": "list", "data": [{"id": name, "object": "model"} for name in owner.models]})

    def do_POST(self) -> None:
        owner = self.server.owner
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        embeds = self.path.endswith("/embeddings")
        messages = [] if embeds else body["messages"]
        with owner.books.lock:
            owner.headers_seen.append({name.lower(): value for name, value in self.headers.items()})
            asked = Asked(
                number=len(owner.books.served),
                model=body["model"],
                system="\n".join(_text(m["content"]) for m in messages if m["role"] == "system"),
                user="\n".join(body["input"] if embeds else _said(messages)),
                body=body,
            )
            entry = Served(asked=asked, fault=owner.draw_fault(asked))
            owner.books.served.append(entry)
        if owner.latency_s:
            time.sleep(owner.latency_s)
        self._play(owner, entry)

    def _vectors(self, owner: ModelServer, entry: Served) -> None:
        """Vectors of hashed n-grams, in reverse order: their index says whose they are."""
        asked, fault = entry.asked, entry.fault
        size = owner.num_dimensions + (asked.number if fault == "odd_usage" else 0)
        vectors = [vector_of(text, size) for text in asked.body["input"]]
        if fault == "empty":
            vectors = [[0.0] * size for _ in vectors]
        elif fault == "truncate":
            vectors = vectors[:-1]
        elif fault == "malformed_json":
            vectors[-1] = vectors[-1][:-1]
        rows = [{"object": "embedding", "index": place, "embedding": row} for place, row in enumerate(vectors)]
        tokens = max(1, len(asked.user) // 4)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        reply = {"object": "list", "model": asked.model, "data": rows[::-1], "usage": usage}
        if fault == "malformed_body":
            data = json.dumps(reply).encode()
            return self._send_bytes(200, data[: len(data) // 2])
        entry.prompt_tokens, entry.answered = tokens, True
        try:
            self._send(200, reply)
        except OSError:
            entry.answered = False

    def _play(self, owner: ModelServer, entry: Served) -> None:
        fault, asked = entry.fault, entry.asked
        if fault == "drop":
            self.close_connection = True
            return
        if fault == "delay":
            time.sleep(owner.delay_s)  # the client has gone by then
            self.close_connection = True
            return
        if fault == "rate_limit":
            return self._send(429, _error("slow down", "rate_limit_exceeded"), {"Retry-After": "0.1"})
        if fault == "bad_key":
            return self._send(401, _error("Incorrect API key provided", "invalid_api_key"))
        if fault == "retry_tomorrow":
            return self._send(429, _error("slow down", "rate_limit_exceeded"), {"Retry-After": "86400"})
        if fault == "quota":
            return self._send(429, _error("You exceeded your current quota", "insufficient_quota"))
        if fault == "server_error":
            return self._send(500, _error("the server had an error", "server_error"))
        if fault == "unknown_parameter":
            for name in ("response_format", "temperature", "tools", "encoding_format"):
                if name in asked.body:
                    return self._send(400, _error(f"Unrecognized request argument supplied: {name}", "invalid"))
        if self.path.endswith("/embeddings"):
            return self._vectors(owner, entry)
        content, finish = owner.answer(asked), "stop"
        if fault == "truncate":
            content, finish = content[: len(content) // 2], "length"
        elif fault == "empty":
            content = ""
        elif fault == "refusal":
            content = "I'm sorry, but I can't help with that."
        elif fault == "wrong_fences":
            content = content.replace("```python", "'''python").replace("```", "'''")
        elif fault == "prose":
            content = content.replace("```python\n", "Here is the code:\n").replace("```json\n", "").replace("```", "")
        elif fault == "malformed_json":
            content = content.replace('": ', "': ", 1).replace("]", "],", 1)
        elif fault == "huge":
            content = "so " * (_HUGE // 3) + "\n\n" + content
        elif fault == "surrogate":
            content += " \ud800"
        entry.content = content
        usage = {
            "prompt_tokens": (len(asked.system) + len(asked.user)) // 4,
            "completion_tokens": max(1, len(content) // 4),
            "prompt_tokens_details": {"cached_tokens": len(asked.system) // 8},
        }
        usage["total_tokens"] = usage["prompt_tokens"] + usage["completion_tokens"]  # type: ignore[operator]
        if fault == "odd_usage":
            usage |= {"prompt_tokens": -5000, "completion_tokens": 10**20}
        reply = {
            "id": f"chatcmpl-{asked.number}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": asked.model,
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": finish},
            ],
            "usage": usage,
        }
        if "tools" in asked.body and finish == "stop" and fault is None:
            name = asked.body["tools"][0]["function"]["name"]
            call = {"id": "call_1", "type": "function", "function": {"name": name, "arguments": content}}
            reply["choices"][0] = {  # type: ignore[index]
                "index": 0,
                "message": {"role": "assistant", "content": None, "tool_calls": [call]},
                "finish_reason": "tool_calls",
            }
        if fault == "malformed_body":
            data = json.dumps(reply).encode()
            return self._send_bytes(200, data[: len(data) // 2])
        # Booked first: the client may have the answer before this thread goes on.
        entry.prompt_tokens, entry.completion_tokens = int(usage["prompt_tokens"]), int(usage["completion_tokens"])  # type: ignore[call-overload]
        entry.answered = True
        try:
            self._send(200, reply)
        except OSError:
            entry.answered = False

    def _send(self, status: int, value: Any, headers: Mapping[str, str] | None = None) -> None:
        self._send_bytes(status, json.dumps(value).encode(), headers)

    def _send_bytes(self, status: int, data: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


def vector_of(text: str, num_dimensions: int) -> list[float]:
    """Counts of hashed letter triples, not of unit length: texts that share words are near each other."""
    vector = [0.0] * num_dimensions
    padded = f"  {text.lower()}  "
    for place in range(len(padded) - 2):
        vector[zlib.crc32(padded[place : place + 3].encode()) % num_dimensions] += 1.0
    return vector


def _said(messages: list[dict[str, Any]]) -> list[str]:
    return [_text(message["content"]) for message in messages if message["role"] != "system"]


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content or ())


def _error(message: str, code: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": code, "code": code}}
