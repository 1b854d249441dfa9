"""A client over real HTTP to the local server, with a purse that keeps its books in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import pytest

from agents.ledger import Limits
from agents.llm.client import Answer, Client, Question, Unreadable
from agents.llm.prices import prices_of
from agents.llm.settings import LlmSettings, ModelSettings, Price, Retries, RoleSettings
from agents.llm.wire import LiteLlmLine
from agents.prompting import Prompt
from agents.purse import Purse
from cognition.records import CallOutcome, LlmCall
from tests.model_server.server import ModelServer

PRICE = Price(input=10.0, output=100.0, cached=1.0)  # US dollars per million tokens
QUESTION = Question(
    role="researcher",
    purpose="propose",
    number=7,
    arm="llm",
    prompt=Prompt(name="researcher/refine", version="1.1", system="# Role: researcher", user="say FINE"),
)


def fine(answer: Answer) -> str:
    if "FINE" not in answer.text:
        raise Unreadable("the word FINE is missing")
    return answer.text


@dataclass
class Bench:
    """A client with everything around it."""

    client: Client
    purse: Purse
    servers: dict[str, ModelServer]

    async def calls(self) -> list[LlmCall]:
        return [row for row in await self.purse.rows(wait=False) if isinstance(row, LlmCall)]

    async def outcomes(self) -> list[CallOutcome]:
        return [call.outcome for call in await self.calls()]


@pytest.fixture
def bench() -> Iterator[Callable[..., Bench]]:
    """Builds a bench: one server for each of `faults` (a mapping of model name to its faults)."""
    with ExitStack() as stack:

        def build(
            answer: Callable[[Any], str] = lambda asked: "FINE",
            faults: dict[str, dict[str, float]] | None = None,
            limits: Limits | None = None,
            delay_s: float = 30.0,
            environment: dict[str, str] | None = None,
            corrections: int = 1,
            retries: int = 3,
            **model: Any,
        ) -> Bench:
            servers = {
                name: stack.enter_context(ModelServer(answer, faults=its, delay_s=delay_s, models=(name,)))
                for name, its in (faults or {"one": {}}).items()
            }
            model = {"timeout_s": 60.0, "price": PRICE, **model}
            settings = LlmSettings(
                name="test",
                models={
                    name: ModelSettings(model=f"openai/{name}", api_base=server.url, **model)
                    for name, server in servers.items()
                },
                roles={
                    "researcher": RoleSettings(models=dict.fromkeys(servers, 1.0), choice="weights"),
                    "judge": RoleSettings(models=dict.fromkeys(servers, 1.0)),
                },
                retries=Retries(num=retries, base_s=0.01, most_s=1.0),
                max_corrections=corrections,
            )
            prices = prices_of(settings)
            purse = Purse(limits or Limits(), settings, prices, write_ahead=False)
            client = Client(settings, prices, purse, LiteLlmLine(), environment=environment or {})
            return Bench(client=client, purse=purse, servers=servers)

        yield build


__all__ = ["PRICE", "QUESTION", "Bench", "fine", "replace"]
