from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from agents.ledger import Cost, Limits, Refusal, Spend
from agents.llm.settings import BanditSettings, LlmSettings, ModelSettings, Price, RoleSettings
from agents.purse import Purse, PurseState, Ticket, spends_of, unanswered_in
from cognition.records import CallOutcome, Event, LlmCall, Reward

MODEL = "openai/one"
CALL = LlmCall(
    call_id="",
    role="researcher",
    purpose="propose",
    number=3,
    model=MODEL,
    prompt="researcher/refine",
    prompt_version="1.1",
    prompt_hash="ab",
    messages="[]",
    outcome=CallOutcome.lost,
)
WORST = Cost(usd=1.0, tokens=1000)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def purse(
    limits: Limits | None = None, *, write_ahead: bool = False, state: PurseState | None = None, **model: float
) -> Purse:
    settings = LlmSettings(
        name="test",
        models={
            "a": ModelSettings(model=MODEL, **model),  # type: ignore[arg-type]
            "b": ModelSettings(model="openai/two"),
        },
        roles={"researcher": RoleSettings(models={"a": 1.0, "b": 1.0})},
        bandit=BanditSettings(explore=0.0),
    )
    prices = {MODEL: Price(input=1, output=1), "openai/two": Price(input=1, output=1)}
    made = Purse(limits or Limits(), settings, prices, write_ahead=write_ahead, state=state, clock=Clock())
    return made


def clock_of(made: Purse) -> Clock:
    assert isinstance(made._clock, Clock)
    return made._clock


async def opened(made: Purse, call: LlmCall = CALL, worst: Cost = WORST) -> Ticket:
    ticket = await made.open(call, worst)
    assert isinstance(ticket, Ticket)
    return ticket


def answered(ticket: Ticket, usd: float = 0.25) -> LlmCall:
    return replace(ticket.call, outcome=CallOutcome.answered, usd=usd, input_tokens=10, output_tokens=5, reply="r")


async def test_an_intent_is_on_disk_before_the_call_may_be_made() -> None:
    made = purse(write_ahead=True)
    asking = asyncio.create_task(opened(made))
    (intent,) = await made.rows()
    assert isinstance(intent, Event)
    await asyncio.sleep(0.05)
    assert not asking.done()
    await made.written(1)
    ticket = await asyncio.wait_for(asking, 60)
    assert intent.subject == f"call/{ticket.call.call_id}"
    await made.close(ticket, answered(ticket))
    flushing = asyncio.create_task(made.flush())
    (row,) = await made.rows()
    await asyncio.sleep(0.05)
    assert not flushing.done()
    await made.written(1)
    await asyncio.wait_for(flushing, 60)
    assert isinstance(row, LlmCall)


async def test_a_process_that_died_leaves_its_intents_and_they_keep_their_reservation() -> None:
    made = purse()
    first, second = await opened(made), await opened(made, replace(CALL, number=4))
    await made.close(first, answered(first))
    rows = await made.rows(wait=False)
    events = [row for row in rows if isinstance(row, Event)]
    calls = [row for row in rows if isinstance(row, LlmCall)]
    (lost,) = unanswered_in(events, calls)
    assert (lost.call_id, lost.outcome, lost.held_usd, lost.held_tokens) == (
        second.call.call_id,
        CallOutcome.lost,
        1.0,
        1000,
    )
    resumed = purse(Limits(usd=2.0), state=PurseState(spent=spends_of([*calls, lost])))
    assert resumed.ledger.total() == Cost(usd=1.25, tokens=1015)
    assert isinstance(await resumed.open(CALL, WORST), Refusal)
    assert unanswered_in(events, [*calls, lost]) == ()


async def test_unanswered_calls_stay_reserved_and_marked() -> None:
    made = purse()
    ticket = await opened(made)
    await made.close(ticket, replace(ticket.call, outcome=CallOutcome.timeout))
    assert made.ledger.spent() == (Spend(account=f"model/{MODEL}", held=WORST, num_held=1),)
    row = (await made.rows(wait=False))[-1]
    assert isinstance(row, LlmCall)
    assert (row.held_usd, row.held_tokens, row.usd) == (1.0, 1000, 0.0)


async def test_free_failures_give_their_reservation_back() -> None:
    made = purse(Limits(usd=1.0))
    for outcome in (CallOutcome.rate_limited, CallOutcome.server_error, CallOutcome.rejected, CallOutcome.quota):
        ticket = await opened(made)
        await made.close(ticket, replace(ticket.call, outcome=outcome))
    assert made.ledger.total() == Cost()


async def test_a_call_waits_where_room_may_still_come_and_is_refused_where_not() -> None:
    made = purse(Limits(usd=1.5))
    ticket = await opened(made)
    waiting = asyncio.create_task(opened(made, replace(CALL, number=4)))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await made.close(ticket, answered(ticket, usd=0.5))
    await asyncio.wait_for(waiting, 60)
    refusal = await made.open(replace(CALL, number=5), Cost(usd=1.2))
    assert isinstance(refusal, Refusal)
    assert refusal.final


async def test_calls_at_once_and_a_minute_are_limited() -> None:
    made = purse(concurrency=1, requests_per_minute=2)
    ticket = await opened(made)
    waiting = asyncio.create_task(opened(made, replace(CALL, number=4)))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await made.close(ticket, answered(ticket))
    ticket = await asyncio.wait_for(waiting, 60)
    await made.close(ticket, answered(ticket))
    third = asyncio.create_task(opened(made, replace(CALL, number=5)))
    await asyncio.sleep(0.05)
    assert not third.done()  # two in this minute
    clock_of(made).now += 61
    await asyncio.wait_for(third, 60)


async def test_a_provider_that_asks_for_patience_gets_it_from_everybody() -> None:
    made = purse()
    ticket = await opened(made)
    await made.close(ticket, replace(ticket.call, outcome=CallOutcome.rate_limited), retry_after_s=30)
    waiting = asyncio.create_task(opened(made, replace(CALL, number=4)))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    clock_of(made).now += 31
    await asyncio.wait_for(waiting, 60)


async def test_a_time_that_is_set_neither_expires_calls_nor_frees_rates() -> None:
    settings = LlmSettings(
        name="test",
        models={"a": ModelSettings(model=MODEL, requests_per_minute=1)},
        roles={"researcher": RoleSettings(models={"a": 1.0})},
    )
    stamps = iter((1000.0, 1000.0, 1000.0 + 9 * 3600, 1000.0 - 5 * 3600))
    made = Purse(
        Limits(),
        settings,
        {MODEL: Price(input=1, output=1)},
        write_ahead=False,
        clock=Clock(),
        now=lambda: next(stamps, 50_000.0),
    )
    ticket = await opened(made)
    assert ticket.call.created_at == 1000.0
    waiting = asyncio.create_task(opened(made, replace(CALL, number=4)))
    await asyncio.sleep(0.05)
    assert not waiting.done(), "a minute has not passed"
    await made.close(ticket, answered(ticket))
    assert [row.outcome for row in await made.rows(wait=False) if isinstance(row, LlmCall)] == [CallOutcome.answered]
    clock_of(made).now += 61
    await asyncio.wait_for(waiting, 60)


async def test_tokens_a_minute_are_limited() -> None:
    made = purse(tokens_per_minute=1500)
    await opened(made)
    waiting = asyncio.create_task(opened(made, replace(CALL, number=4)))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    clock_of(made).now += 61
    await asyncio.wait_for(waiting, 60)


async def test_who_dies_waiting_gives_the_place_back_and_the_cost_stays() -> None:
    made = purse(concurrency=1, timeout_s=10)
    abandoned = await opened(made)
    waiting = asyncio.create_task(opened(made, replace(CALL, number=4)))
    clock_of(made).now += 21
    await asyncio.wait_for(waiting, 60)
    rows = [row for row in await made.rows(wait=False) if isinstance(row, LlmCall)]
    assert [(row.call_id, row.outcome) for row in rows] == [(abandoned.call.call_id, CallOutcome.lost)]
    await made.close(abandoned, answered(abandoned))  # too late: it was booked as lost
    assert made.ledger.total().usd == 2.0


async def test_the_end_of_a_campaign_cancels_what_is_open() -> None:
    made = purse()
    await opened(made)
    await made.abandon()
    row = (await made.rows(wait=False))[-1]
    assert isinstance(row, LlmCall)
    assert (row.outcome, row.held_usd) == (CallOutcome.cancelled, 1.0)


async def test_replies_of_an_earlier_start_are_not_paid_for_again() -> None:
    before = purse()
    ticket = await opened(before)
    await before.close(ticket, answered(ticket))
    paid = [row for row in await before.rows(wait=False) if isinstance(row, LlmCall)]
    after = purse(Limits(usd=0.1), state=PurseState(paid=tuple(paid)))
    again = await opened(after)
    assert again.paid is not None
    assert again.paid.reply == "r"
    other = await after.open(replace(CALL, prompt_hash="cd"), WORST)
    assert isinstance(other, Refusal)  # another question


async def test_rewards_decide_who_is_asked_and_the_horizon_hides_later_ones() -> None:
    early = [Reward(role="researcher", number=n, model=MODEL, reward=1.0) for n in range(30)]
    early += [Reward(role="researcher", number=n, model="openai/two", reward=0.0) for n in range(30)]
    made = purse(state=PurseState(rewards=tuple(early)))
    firsts = [(await made.choose("researcher", number, 0))[0] for number in range(100)]
    assert firsts.count(MODEL) > 90
    later = [replace(reward, number=reward.number + 100, reward=1.0 - reward.reward) for reward in early * 5]
    before = [await made.choose("researcher", number, 0, horizon=50) for number in range(50)]
    await made.reward(*later)
    assert [await made.choose("researcher", number, 0, horizon=50) for number in range(50)] == before
    after = [(await made.choose("researcher", number, 0))[0] for number in range(100)]
    assert after.count("openai/two") > 50


@pytest.mark.parametrize("role", ["judge", "nobody"])
async def test_a_role_without_models_has_nobody_to_ask(role: str) -> None:
    assert await purse().choose(role, 1, 0) == ()
