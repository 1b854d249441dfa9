"""Embeddings over real HTTP: what the books say, what is refused, and what a caller has to fall back from."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint
from typing import Any

import numpy as np
import pytest

from agents.ledger import Limits
from agents.llm.choice import with_provider
from agents.llm.embedding import BlockingEmbedder, EmbeddingFailed, EmbeddingFailure, LlmEmbedder, _batches, embedder
from agents.llm.prices import price_of, prices_of
from agents.llm.settings import EmbeddingSettings, LlmSettings, ModelSettings, Price, Retries
from agents.llm.wire import LiteLlmLine
from agents.purse import Purse, PurseState
from cognition.__main__ import main
from cognition.embedding import Embedder, NoVectors
from cognition.records import CallOutcome, LlmCall
from cognition.registered import EMBEDDERS, Wish
from tests.agents.llm.test_client import Once
from tests.model_server.server import ModelServer, vector_of

PRICE = Price(input=10.0, output=0.0)
TEXTS = ["a state forgets with a gate", "keys are overwritten, not added", "a gate makes the state forget"]


@dataclass
class Stall:
    """An embedder with its server and its purse."""

    embedder: LlmEmbedder
    purse: Purse
    server: ModelServer

    async def calls(self) -> list[LlmCall]:
        return [row for row in await self.purse.rows(wait=False) if isinstance(row, LlmCall)]


Make = Callable[..., Stall]


@pytest.fixture
def stall() -> Iterator[Make]:
    with ExitStack() as stack:

        def build(
            faults: dict[str, float] | None = None,
            limits: Limits | None = None,
            state: PurseState | None = None,
            retries: int = 2,
            known: int | None = None,
            environment: dict[str, str] | None = None,
            **settings: Any,
        ) -> Stall:
            server = stack.enter_context(ModelServer(lambda asked: "", faults=faults, delay_s=30.0))
            own = EmbeddingSettings(
                model="openai/vectors", api_base=server.url, price=PRICE, **{"timeout_s": 60.0, **settings}
            )
            everything = LlmSettings(name="test", embedding=own, retries=Retries(num=retries, base_s=0.01, most_s=1.0))
            purse = Purse(limits or Limits(), everything, prices_of(everything), state=state, write_ahead=False)
            made = LlmEmbedder(
                own,
                PRICE,
                purse,
                LiteLlmLine(),
                retries=everything.retries,
                num_dimensions=known,
                environment=environment or {},
            )
            return Stall(embedder=made, purse=purse, server=server)

        yield build


async def test_vectors_are_of_unit_length_and_in_the_order_of_the_texts(stall: Make) -> None:
    made = stall()
    vectors = await made.embedder.embed(TEXTS)
    assert vectors.shape == (3, 64)
    assert vectors.dtype == np.float32
    wanted = np.array([vector_of(text, 64) for text in TEXTS])
    np.testing.assert_allclose(vectors, wanted / np.linalg.norm(wanted, axis=1, keepdims=True), atol=1e-6)
    assert vectors[0] @ vectors[2] > vectors[0] @ vectors[1]
    assert await made.embedder.name() == "openai/vectors/64"
    assert len(made.server.books.served) == 1


async def test_a_batch_is_one_call_and_is_booked_as_the_server_counts_it(stall: Make) -> None:
    made = stall(num_texts=2)
    await made.embedder.embed(TEXTS, number=7, arm="llm")
    served = made.server.books.answered()
    assert [entry.asked.body["input"] for entry in served] == [TEXTS[:2], TEXTS[2:]]
    calls = await made.calls()
    assert [(c.role, c.purpose, c.number, c.arm, c.model) for c in calls] == [
        ("embedder", "embed", 7, "llm", "openai/vectors")
    ] * 2
    assert [c.input_tokens for c in calls] == [entry.prompt_tokens for entry in served]
    assert [c.usd for c in calls] == pytest.approx([entry.prompt_tokens * 10 / 1e6 for entry in served])
    assert json.loads(calls[0].messages) == TEXTS[:2]
    total = made.purse.ledger.total()
    assert total.usd == pytest.approx(sum(c.usd for c in calls))
    assert total.tokens == sum(c.input_tokens for c in calls)


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ("rate_limit", CallOutcome.rate_limited),
        ("server_error", CallOutcome.server_error),
        ("drop", CallOutcome.dropped),
        ("delay", CallOutcome.timeout),
        ("malformed_body", CallOutcome.dropped),
        ("truncate", CallOutcome.dropped),
        ("unknown_parameter", CallOutcome.rejected),
    ],
)
async def test_a_fault_is_survived_and_every_attempt_is_booked(stall: Make, fault: str, outcome: CallOutcome) -> None:
    made = stall(timeout_s=4.0 if fault == "delay" else 60.0)  # the second answer has to be in time
    made.server.faults = Once(fault)
    assert (await made.embedder.embed(TEXTS)).shape == (3, 64)
    first, second = await made.calls()
    assert (first.outcome, second.outcome) == (outcome, CallOutcome.answered)
    assert len(made.server.books.served) == 2
    assert (first.held_usd > 0) == outcome.unanswered


@pytest.mark.parametrize(
    ("fault", "kind", "hopeless", "told"),
    [
        ("server_error", EmbeddingFailure.provider, False, "server_error"),
        ("delay", EmbeddingFailure.provider, False, "timeout"),
        ("bad_key", EmbeddingFailure.provider, True, "rejected"),
        ("quota", EmbeddingFailure.provider, True, "quota"),
        ("retry_tomorrow", EmbeddingFailure.provider, False, "rate_limited"),
        ("empty", EmbeddingFailure.shape, False, "without length"),
        ("malformed_json", EmbeddingFailure.shape, False, r"vectors of \[63, 64\] dimensions"),
    ],
)
async def test_what_cannot_be_had_is_a_failure_with_its_kind(
    stall: Make, fault: str, kind: EmbeddingFailure, hopeless: bool, told: str
) -> None:
    made = stall(faults={fault: 1.0}, retries=1, timeout_s=1.0 if fault == "delay" else 60.0)
    with pytest.raises(EmbeddingFailed, match=told) as failed:
        await made.embedder.embed(TEXTS)
    assert (failed.value.kind, failed.value.hopeless) == (kind, hopeless)
    assert isinstance(failed.value, NoVectors)
    calls = await made.calls()
    assert all((call.held_usd > 0) == call.outcome.unanswered for call in calls)
    if kind is EmbeddingFailure.shape:
        assert [call.outcome for call in calls] == [CallOutcome.unreadable]
        assert calls[0].usd > 0


async def test_a_dimension_that_changes_is_refused(stall: Make) -> None:
    made = stall()
    await made.embedder.embed(TEXTS)
    made.server.num_dimensions = 65
    with pytest.raises(EmbeddingFailed, match="of 65 dimensions came, before they had 64"):
        await made.embedder.embed(["another"])
    known = stall(known=8)
    assert await known.embedder.name() == "openai/vectors/8"
    assert not known.server.books.served
    with pytest.raises(EmbeddingFailed, match="before they had 8"):
        await known.embedder.embed(["another"])


async def test_a_call_that_the_budget_has_no_room_for_is_not_made(stall: Make) -> None:
    made = stall(limits=Limits(usd=1e-5))
    with pytest.raises(EmbeddingFailed, match="budget: usd") as failed:
        await made.embedder.embed(TEXTS)
    assert failed.value.kind is EmbeddingFailure.budget
    assert not made.server.books.served


async def test_texts_without_content_are_zeros_and_nobody_is_asked_about_them(stall: Make) -> None:
    made = stall()
    vectors = await made.embedder.embed(["", TEXTS[0], " \n"])
    assert [float(np.linalg.norm(row)) for row in vectors] == pytest.approx([0, 1, 0])
    assert made.server.books.served[0].asked.body["input"] == [TEXTS[0]]
    assert (await made.embedder.embed([])).shape == (0, 64)
    assert (await stall().embedder.embed([""])).shape == (1, 64)


async def test_vectors_that_were_paid_for_are_asked_for_again(stall: Make) -> None:
    """The books keep no vectors, so a reply that was paid for is no answer here."""
    first = stall()
    await first.embedder.embed(TEXTS)
    (call,) = await first.calls()
    again = stall(state=PurseState(paid=(call,)))
    assert (await again.embedder.embed(TEXTS)).shape == (3, 64)
    (second,) = await again.calls()
    assert (call.sample, second.sample) == (0, 1)


async def test_keys_stay_out_of_rows_and_failures(stall: Make) -> None:
    made = stall(faults={"bad_key": 1.0}, environment={"MY_API_KEY": "Incorrect API key"})
    with pytest.raises(EmbeddingFailed) as failed:
        await made.embedder.embed(["Incorrect API key"])
    (call,) = await made.calls()
    assert "Incorrect" not in f"{failed.value} {call}"
    assert "[MY_API_KEY]" in str(failed.value)


def test_long_texts_come_in_batches_of_bounded_size() -> None:
    batches = _batches([(place, "x" * 12_000) for place in range(40)], 64)
    assert [len(batch) for batch in batches] == [16, 16, 8]
    assert [place for batch in batches for place, _ in batch] == list(range(40))


def test_commands_get_the_same_without_an_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    with ModelServer(lambda asked: "") as server:
        monkeypatch.setenv("OPENAI_API_BASE", server.url)
        made: Embedder = embedder(Wish(model="vectors", budget_usd=0.01))
        assert made.name == "openai/vectors/64"
        for _ in range(2):
            assert made.embed(TEXTS).shape == (3, 64)
        assert len(server.books.served) == 3


def test_a_search_from_the_command_line_asks_the_model_that_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    point = EntryPoint(name="llm", value="agents.llm.embedding:embedder", group=EMBEDDERS)
    monkeypatch.setattr("cognition.registered.entry_points", lambda group: [point] if group == EMBEDDERS else [])
    question = ["search", "recall fades with the length of the text", "--embedder", "vectors"]
    with ModelServer(lambda asked: "") as server:
        monkeypatch.setenv("OPENAI_API_BASE", server.url)
        assert main(question) == 0
        assert "when" in capsys.readouterr().out
        assert question[1] in server.books.served[-1].asked.body["input"]
        server.faults = {"bad_key": 1.0}
        assert main(question) == 2
        assert capsys.readouterr().err.startswith("error: provider: openai/vectors: rejected")


def test_a_command_stops_at_its_own_budget() -> None:
    with ModelServer(lambda asked: "") as server:
        model = ModelSettings(model="openai/vectors", api_base=server.url)
        made = BlockingEmbedder(model, PRICE, 0.002, environment={})
        made.embed(TEXTS)
        assert 0 < made.spent_usd < 0.002
        with pytest.raises(EmbeddingFailed, match="budget"):
            made.embed(TEXTS * 20)


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (None, "no embedding model is named"),
        ("openai/text-embedding-3-small", "needs OPENAI_API_KEY"),
        ("nobody/heard-of", "price of nobody/heard-of is not known"),
    ],
)
def test_an_embedder_that_cannot_be_had_says_why(model: str | None, told: str) -> None:
    with pytest.raises(NoVectors, match=told):
        embedder(Wish(model=model, budget_usd=0.01))


def test_a_search_with_an_embedder_of_unknown_price_gives_advice_that_it_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    point = EntryPoint(name="llm", value="agents.llm.embedding:embedder", group=EMBEDDERS)
    monkeypatch.setattr("cognition.registered.entry_points", lambda group: [point] if group == EMBEDDERS else [])
    monkeypatch.delenv("OPENAI_API_BASE", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-nobody")
    assert main(["search", "recall", "--embedder", "openai/unheard-of"]) == 2
    told = capsys.readouterr().err
    assert "the price of openai/unheard-of is not known: state it with --price INPUT OUTPUT" in told
    assert "llm." not in told


def test_listed_embedders_have_their_price_and_unlisted_ones_are_an_error() -> None:
    own = EmbeddingSettings(model="openai/text-embedding-3-small")
    settings = LlmSettings(name="x", embedding=own)
    assert prices_of(settings) == {"openai/text-embedding-3-small": Price(input=0.02, output=0.0)}
    with pytest.raises(ValueError, match=r"llm\.embedding\.price"):
        prices_of(replace(settings, embedding=replace(own, model="openai/unheard-of")))
    local = replace(own, model="openai/unheard-of", api_base="http://127.0.0.1:1/v1").as_model
    assert local is not None
    assert price_of(local).input == 0
    assert prices_of(LlmSettings(name="x")) == {}


@pytest.mark.parametrize("values", [{"model": ""}, {"num_texts": 0}, {"concurrency": 0}, {"timeout_s": 0.0}])
def test_settings_that_make_no_sense_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"llm\.embedding\."):
        EmbeddingSettings(**values)


def test_the_environment_says_where_a_served_embedder_is(tmp_path: Any) -> None:
    environment = {"OPENAI_API_BASE": "http://localhost:1/v1"}
    for name, wanted in (
        ("openai/nomic", ("openai/nomic", "http://localhost:1/v1")),
        ("nomic", ("openai/nomic", "http://localhost:1/v1")),
        ("gemini/gemini-embedding-001", ("gemini/gemini-embedding-001", None)),
    ):
        values = with_provider({"name": "none", "embedding": {"model": name}}, tmp_path, environment)
        assert (values["embedding"]["model"], values["embedding"]["api_base"]) == wanted
    untouched = {"name": "none", "embedding": {"model": None, "api_base": None}}
    assert with_provider(untouched, tmp_path, environment)["embedding"] == {"model": None, "api_base": None}
