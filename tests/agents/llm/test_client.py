"""The client over real HTTP: what goes wrong with models, one fault at a time, and what the books say of it."""

from __future__ import annotations

import asyncio
import json
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count

import pytest

from agents.ledger import Cost, Limits
from agents.llm.client import Answer, BudgetExhausted, Client, NoAnswer, NobodyToAsk
from agents.llm.settings import ModelSettings
from agents.llm.wire import _messages
from agents.replies.forms import Opinion, read_form
from cognition.records import CallOutcome, Event, LlmCall
from tests.agents.llm.conftest import PRICE, QUESTION, Bench, fine
from tests.model_server.server import FAULTS, Asked

MakeBench = Callable[..., Bench]
SILENT = ("drop", "delay", "malformed_body")  # faults after which nobody can tell what the call has cost


class Once(dict[str, float]):
    """A fault that is played once, and never again."""

    def __init__(self, name: str) -> None:
        super().__init__({name: 1.0})
        self._left = 1

    def items(self) -> Iterator[tuple[str, float]]:  # type: ignore[override]
        self._left -= 1
        return iter([] if self._left < 0 else list(super().items()))


def once(bench: MakeBench, fault: str, **more: object) -> Bench:
    made = bench(**more)
    (server,) = made.servers.values()
    server.faults = Once(fault)
    return made


async def test_an_answer_is_booked_as_the_server_counts_it(bench: MakeBench) -> None:
    made = bench()
    assert await made.client.ask(QUESTION, fine) == "FINE"
    (call,) = await made.calls()
    (served,) = made.servers["one"].books.answered()
    assert (call.input_tokens, call.output_tokens) == (served.prompt_tokens, served.completion_tokens)
    assert call.usd == pytest.approx(
        (
            (call.input_tokens - call.cached_tokens) * PRICE.input
            + call.cached_tokens * 1.0
            + call.output_tokens * PRICE.output
        )
        / 1e6
    )
    assert (call.role, call.number, call.arm, call.model) == ("researcher", 7, "llm", "openai/one")
    assert (call.prompt, call.prompt_version, call.reply) == ("researcher/refine", "1.1", "FINE")
    assert json.loads(call.messages)[1]["content"] == "say FINE"
    assert made.purse.ledger.total().usd == pytest.approx(call.usd)


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ("rate_limit", CallOutcome.rate_limited),
        ("server_error", CallOutcome.server_error),
        ("drop", CallOutcome.dropped),
        ("delay", CallOutcome.timeout),
        ("malformed_body", CallOutcome.dropped),
        ("empty", CallOutcome.unreadable),
        ("refusal", CallOutcome.unreadable),
        ("truncate", CallOutcome.cut_off),
    ],
)
async def test_a_fault_is_survived_and_every_attempt_is_booked(
    bench: MakeBench, fault: str, outcome: CallOutcome
) -> None:
    made = once(bench, fault, timeout_s=4.0 if fault == "delay" else 60.0)  # the second answer has to be in time
    assert await made.client.ask(QUESTION, fine) == "FINE"
    first, second = await made.calls()
    assert (first.outcome, second.outcome) == (outcome, CallOutcome.answered)
    assert second.turn == int(outcome.charged)  # a reply that cannot be used is complained about; a failure is repeated
    (server,) = made.servers.values()
    assert len(server.books.served) == 2
    held = made.purse.ledger.spent()[0].held
    if outcome.unanswered:
        assert first.held_usd > 0
        assert held == Cost(usd=first.held_usd, tokens=first.held_tokens)
    else:
        assert first.held_usd == held.usd == 0
    answered = [call for call in (first, second) if call.outcome.charged]
    assert [(c.input_tokens, c.output_tokens) for c in answered] == [
        (s.prompt_tokens, s.completion_tokens) for s in server.books.answered()
    ]


async def test_an_unknown_parameter_is_left_out_from_then_on(bench: MakeBench) -> None:
    made = bench(
        answer=lambda asked: '{"innovation": 4, "complexity": 5}', faults={"one": {"unknown_parameter": 1.0}}, retries=0
    )
    question = replace(QUESTION, role="judge", form=Opinion)
    for _ in range(2):
        opinion = await made.client.ask(question, lambda answer: read_form(answer, Opinion))
        assert opinion.innovation == 4
        question = replace(question, number=8)
    outcomes = await made.outcomes()
    assert outcomes == [CallOutcome.rejected] * 2 + [CallOutcome.answered] * 2
    last = made.servers["one"].books.served[-1].asked.body
    assert not {"response_format", "temperature"} & set(last)


async def test_typed_replies_are_asked_for_by_schema_or_by_tool(bench: MakeBench) -> None:
    question = replace(QUESTION, role="judge", form=Opinion)
    for how, field in (("schema", "response_format"), ("tool", "tools"), ("text", None)):
        made = bench(answer=lambda asked: '{"innovation": 4, "complexity": 5}', structured=how)
        opinion = await made.client.ask(question, lambda answer: read_form(answer, Opinion))
        assert opinion.complexity == 5
        body = made.servers["one"].books.served[0].asked.body
        assert {name for name in ("response_format", "tools") if name in body} == ({field} if field else set())


def test_the_system_text_is_marked_for_the_cache_where_a_provider_wants_a_mark() -> None:
    marked = _messages(ModelSettings(model="anthropic/claude-haiku-4-5"), QUESTION.prompt.messages)
    assert marked[0]["content"][0]["cache_control"] == {"type": "ephemeral"}
    assert marked[1] == {"role": "user", "content": "say FINE"}
    assert (
        _messages(ModelSettings(model="openai/gpt-5.4"), QUESTION.prompt.messages)[0]["content"] == "# Role: researcher"
    )


async def test_a_complaint_quotes_the_reply_and_says_what_is_wrong(bench: MakeBench) -> None:
    replies = iter(["nothing of use", "FINE"])
    made = bench(answer=lambda asked: next(replies))
    await made.client.ask(QUESTION, fine)
    second = made.servers["one"].books.served[1].asked.body["messages"]
    assert [message["role"] for message in second] == ["system", "user", "assistant", "user"]
    assert second[2]["content"] == "nothing of use"
    assert "the word FINE is missing" in second[3]["content"]


async def test_complaints_end_and_the_next_model_is_asked(bench: MakeBench) -> None:
    made = bench(answer=lambda asked: "FINE" if asked.model == "two" else "no", faults={"one": {}, "two": {}})
    for number in range(6):  # whichever comes first
        assert await made.client.ask(replace(QUESTION, number=number), fine) == "FINE"
    calls = await made.calls()
    assert {call.model for call in calls if call.outcome is CallOutcome.answered} == {"openai/two"}
    unreadable = [call for call in calls if call.model == "openai/one"]
    assert unreadable
    assert {call.turn for call in unreadable} == {0, 1}


async def test_a_server_that_stays_down_is_given_up_with_what_was_tried(bench: MakeBench) -> None:
    made = bench(faults={"one": {"server_error": 1.0}}, retries=2)
    with pytest.raises(NoAnswer, match="openai/one: server_error"):
        await made.client.ask(QUESTION, fine)
    assert await made.outcomes() == [CallOutcome.server_error] * 3


async def test_a_rejected_request_and_a_used_up_quota_are_not_repeated(bench: MakeBench) -> None:
    rejected = bench(faults={"one": {"bad_key": 1.0}})
    with pytest.raises(NobodyToAsk, match="rejected"):
        await rejected.client.ask(QUESTION, fine)
    assert await rejected.outcomes() == [CallOutcome.rejected]
    quota = bench(faults={"broke": {"quota": 1.0}})
    with pytest.raises(NobodyToAsk, match="quota"):
        await quota.client.ask(QUESTION, fine)
    assert await quota.outcomes() == [CallOutcome.quota]


async def test_retry_after_is_waited_for(bench: MakeBench) -> None:
    made = once(bench, "rate_limit")
    since = time.monotonic()
    await made.client.ask(QUESTION, fine)
    assert time.monotonic() - since >= 0.1  # the server's Retry-After, from below: no machine is too slow for it


async def test_the_budget_is_reserved_before_a_call_and_stops_before_the_next(bench: MakeBench) -> None:
    made = bench(limits=Limits(usd=0.805))  # one call reserves 0.803
    numbers = count()

    async def ask_on() -> None:
        while True:
            await made.client.ask(replace(QUESTION, number=next(numbers)), fine)

    with pytest.raises(BudgetExhausted, match="usd"):
        await ask_on()
    worst = next(e for e in (await made.purse.rows(wait=False)) if isinstance(e, Event))
    largest = json.loads(worst.detail)["held_usd"]
    spent = made.purse.ledger.total().usd
    assert 0.805 - largest < spent <= 0.805
    assert len(made.servers["one"].books.served) == next(numbers) - 1


async def test_tokens_are_a_budget_too(bench: MakeBench) -> None:
    made = bench(limits=Limits(tokens=100))
    with pytest.raises(BudgetExhausted, match="tokens"):
        await made.client.ask(QUESTION, fine)
    assert not made.servers["one"].books.served


async def test_the_same_question_is_not_paid_for_twice(bench: MakeBench) -> None:
    made = bench()
    assert await made.client.ask(QUESTION, fine) == await made.client.ask(QUESTION, fine)
    assert len(made.servers["one"].books.served) == 1
    await made.purse.forget(QUESTION.number)
    await made.client.ask(QUESTION, fine)
    assert len(made.servers["one"].books.served) == 2


async def test_no_more_calls_at_once_than_the_model_takes(bench: MakeBench) -> None:
    made = bench(concurrency=2)
    server, at_once, most = made.servers["one"], [0], [0]
    counting, two = threading.Lock(), threading.Barrier(2)

    def slow(asked: Asked) -> str:
        with counting:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
        two.wait(50)  # one alone would never be answered
        time.sleep(0.1)
        with counting:
            at_once[0] -= 1
        return "FINE"

    server.answer = slow
    await asyncio.gather(*(made.client.ask(replace(QUESTION, number=number), fine) for number in range(6)))
    assert most[0] == 2


async def test_keys_are_in_no_row(bench: MakeBench) -> None:
    key = "sk-planted-0123456789abcdef"
    leaking = replace(QUESTION, prompt=replace(QUESTION.prompt, user=f"say FINE, {key}"))
    made = bench(answer=lambda asked: f"FINE {key}", environment={"OPENAI_API_KEY": key})
    reply = await made.client.ask(leaking, fine)
    rows = await made.purse.rows(wait=False)
    assert key not in reply
    assert key not in repr(rows)
    (call,) = [row for row in rows if isinstance(row, LlmCall)]
    assert call.reply == "FINE [OPENAI_API_KEY]"


@pytest.mark.parametrize("reply", ['{"a":' * 20_000, "{" * 90_000, '{"a": "b, ' * 9_000])
async def test_what_no_reader_survives_is_a_complaint_about_a_call_that_is_booked(bench: MakeBench, reply: str) -> None:
    made = bench(answer=lambda asked: reply, corrections=0)
    question = replace(QUESTION, role="judge", form=Opinion)
    with pytest.raises(NoAnswer, match="unreadable"):
        await made.client.ask(question, lambda answer: read_form(answer, Opinion))
    assert await made.outcomes() == [CallOutcome.unreadable]


async def test_a_reader_that_raises_leaves_no_call_open(bench: MakeBench) -> None:
    made = bench(concurrency=1, corrections=0)

    def read(answer: Answer) -> str:
        raise RecursionError

    for number in range(2):  # the second would wait for the first one's place
        with pytest.raises(NoAnswer, match="it cannot be read"):
            await made.client.ask(replace(QUESTION, number=number), read)
    assert await made.outcomes() == [CallOutcome.unreadable] * 2


async def test_lone_surrogates_and_odd_figures_are_made_storable(bench: MakeBench) -> None:
    for fault in ("surrogate", "odd_usage"):
        made = bench(faults={"one": {fault: 1.0}})
        await made.client.ask(QUESTION, fine)
        (call,) = await made.calls()
        call.reply.encode()
        assert 0 <= call.input_tokens <= 10**9
        assert 0 <= call.output_tokens <= 10**9


async def test_a_long_retry_after_goes_to_the_next_model_and_holds_nobody_up_for_long(bench: MakeBench) -> None:
    made = bench(faults={"one": {"retry_tomorrow": 1.0}, "two": {}})
    for number in range(4):
        assert await made.client.ask(replace(QUESTION, number=number), fine) == "FINE"


async def test_a_server_that_cannot_be_reached_is_owed_nothing(bench: MakeBench) -> None:
    made = bench(retries=1)
    made.servers["one"].__exit__()
    with pytest.raises(NoAnswer, match="no connection"):
        await made.client.ask(QUESTION, fine)
    assert made.purse.ledger.total() == Cost()


async def test_who_is_started_anew_leaves_no_places_taken(bench: MakeBench) -> None:
    made = bench(concurrency=1, faults={"one": {"delay": 1.0}}, timeout_s=60)
    client = made.client
    first = Client(client.settings, client._prices, made.purse, client._line, owner="researcher", environment={})
    asking = asyncio.create_task(first.ask(QUESTION, fine))
    while not made.servers["one"].books.served:
        await asyncio.sleep(0.01)
    made.servers["one"].faults = {}
    await made.purse.orphan("researcher")
    assert await asyncio.wait_for(client.ask(replace(QUESTION, number=8), fine), 60) == "FINE"
    asking.cancel()
    lost = [call for call in await made.calls() if call.outcome is CallOutcome.lost]
    assert [call.number for call in lost] == [QUESTION.number]


async def test_a_huge_reply_is_read_and_kept_short(bench: MakeBench) -> None:
    made = bench(faults={"one": {"huge": 1.0}})
    assert (await made.client.ask(QUESTION, fine)).endswith("FINE")
    (call,) = await made.calls()
    assert len(call.reply) <= 200_000
    assert "characters left out" in call.reply


async def test_every_fault_at_a_fifth_and_the_books_agree(bench: MakeBench) -> None:
    made = bench(faults={"one": dict.fromkeys(FAULTS, 0.2)}, delay_s=1.2, timeout_s=1.0, retries=6)

    def read(answer: Answer) -> str:
        return fine(answer)

    asked = [made.client.ask(replace(QUESTION, number=number), read) for number in range(40)]
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(result, str | NoAnswer) for result in results)
    calls = await made.calls()
    books = made.servers["one"].books
    assert len(calls) >= len(books.served)  # a connection that broke may never have reached the server
    charged = Counter(call.output_tokens for call in calls if call.outcome.charged)
    answered = Counter(served.completion_tokens for served in books.answered())
    unanswered = [call for call in calls if call.outcome.unanswered]
    assert unanswered
    assert charged <= answered
    late = (answered - charged).total()  # on a busy machine an answer may come when nobody waits for it any more
    assert late <= len(unanswered) - sum(not served.answered and served.fault in SILENT for served in books.served)
    assert all(call.held_usd > 0 for call in unanswered)
    assert math.isclose(made.purse.ledger.total().usd, sum(call.usd + call.held_usd for call in calls), rel_tol=1e-9)
