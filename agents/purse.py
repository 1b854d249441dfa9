"""The one purse: budgets, rates, which model is asked, and the books of every call, for all agents of a campaign.

A call is opened before it is made and closed after it. Opening waits for the model's rates and for room in the budget,
writes the intent ahead and returns when that is on disk; closing books what it took. A call that nobody closes keeps
its worst cost, as a row that says so.

One event loop owns a purse; in a campaign that of the ledger's actor. The rows it makes are taken by `rows` and said
to be on disk by `written`, since only the campaign's driver writes to the store.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from agents.bandit import order_by_reward, order_by_weight
from agents.ledger import BudgetLedger, Cost, Limits, Refusal, Reservation, Spend, account_of, cost_of
from agents.llm.settings import LlmSettings, Price
from agents.rates import Rates
from cognition.records import CallOutcome, Charge, Event, LlmCall, Reward

_EXPIRES_FACTOR = 2.0  # a call that is open so many times its time-out has lost who waited for it
_POLL_S = 1.0
_TYPICAL_INPUT, _TYPICAL_OUTPUT = 6_000, 2_000  # tokens, for what a model costs before anything is known

CALL_INTENT = "call/"

Booked = Event | LlmCall | Charge


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """Leave to make one call, or the reply to the same question that was paid for before."""

    call: LlmCall
    reservation: Reservation | None = None
    paid: LlmCall | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PurseState:
    """What a purse has to remember of earlier starts.

    `paid`: answered calls of numbers that are not closed; the same question takes their replies.
    """

    spent: tuple[Spend, ...] = ()
    rewards: tuple[Reward, ...] = ()
    paid: tuple[LlmCall, ...] = ()


@dataclass(slots=True, kw_only=True)
class _Open:
    ticket: Ticket
    owner: str
    expires_at: float


@dataclass(slots=True, kw_only=True)
class _Outbox:
    """Rows on their way to the store, in order."""

    records: list[Booked] = field(default_factory=list)
    num_taken: int = 0
    num_written: int = 0


class Purse:
    """Budgets, rates, choice and books. Coroutines of one event loop."""

    def __init__(
        self,
        limits: Limits,
        settings: LlmSettings,
        prices: Mapping[str, Price],
        *,
        seed: int = 0,
        state: PurseState | None = None,
        write_ahead: bool = True,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`write_ahead`: wait until intents are on disk; false where nobody writes.

        `clock`: for rates and expiry, goes forward whoever sets the time; `now`: seconds since the epoch, for stamps.
        """
        state = state or PurseState()
        self.ledger = BudgetLedger(limits)
        self.ledger.restore(state.spent)
        self._settings, self._prices, self._seed = settings, dict(prices), seed
        self._rewards = list(state.rewards)
        self._rates = {
            model.model: Rates(model.concurrency, model.requests_per_minute, model.tokens_per_minute)
            for model in settings.every_model
        }
        self._timeouts = {model.model: model.timeout_s for model in settings.every_model}
        self._paid: dict[tuple[object, ...], LlmCall] = {}
        for call in state.paid:
            self._paid[_question(call)] = call
        self._open: dict[str, _Open] = {}
        self._training: dict[str, Reservation] = {}  # by trial
        self._charged: set[str] = set()  # attempts that were booked
        self._outbox = _Outbox()
        self._write_ahead = write_ahead
        self._clock, self._now = clock, now
        self._changed = asyncio.Condition()

    # ---- who is asked ---------------------------------------------------------------------------------------------

    async def choose(self, role: str, number: int, attempt: int, horizon: int | None = None) -> tuple[str, ...]:
        """Models of a role in the order in which they are asked; LiteLLM's names.

        A draw of seed, role, number and attempt alone, beside the rewards of numbers up to the `horizon` (None: all).
        """
        settings = self._settings.role(role)
        weights = {self._settings.models[name].model: weight for name, weight in settings.models.items()}
        rng = np.random.default_rng([self._seed, number, attempt, *role.encode()])
        if settings.choice == "weights":
            return order_by_weight(weights, rng)
        known = [r for r in self._rewards if r.role == role and (horizon is None or r.number <= horizon)]
        typical = {
            name: (_TYPICAL_INPUT * price.input + _TYPICAL_OUTPUT * price.output) / 1e6
            for name, price in self._prices.items()
        }
        return order_by_reward(weights, known, typical, rng, self._settings.bandit)

    async def reward(self, *rewards: Reward) -> None:
        """Learn; the rows are the caller's to write."""
        self._rewards += rewards

    # ---- calls ----------------------------------------------------------------------------------------------------

    async def open(self, call: LlmCall, worst: Cost, owner: str = "") -> Ticket | Refusal:
        """Wait for rates, budget and the disk; a final refusal says which limit would break.

        `owner` is whoever waits for the answer: `orphan` books what it left open when it is started anew.

        `call` is the row of the call as far as it is known; its outcome and figures are filled in by `close`.
        """
        if (paid := self._paid.get(_question(call))) is not None:
            return Ticket(call=call, paid=paid)
        call = dataclasses.replace(call, call_id=uuid.uuid4().hex, created_at=self._now())
        async with self._changed:
            while True:
                self._expire()
                wait = self._rate(call.model).wait_s(worst.tokens, self._clock())
                if wait == 0:
                    answer = self.ledger.reserve(f"model/{call.model}", worst)
                    if isinstance(answer, Reservation):
                        break
                    if answer.final:
                        return answer
                    wait = None
                await self._sleep(wait)
            self._rate(call.model).start(worst.tokens, self._clock())
            ticket = Ticket(call=dataclasses.replace(call, created_at=self._now()), reservation=answer)
            expires = self._clock() + _EXPIRES_FACTOR * self._timeouts.get(call.model, 600.0)
            self._open[call.call_id] = _Open(ticket=ticket, owner=owner, expires_at=expires)
            place = self._put(_intent(ticket))
            while self._write_ahead and self._outbox.num_written < place:
                await self._changed.wait()
        return ticket

    async def close(self, ticket: Ticket, call: LlmCall, *, retry_after_s: float = 0.0) -> None:
        """Book what came of it. A ticket that has expired meanwhile was booked as lost, and stays so."""
        async with self._changed:
            if self._open.pop(call.call_id, None) is None:
                return
            self._book(ticket, call)
            if retry_after_s > 0:
                self._rate(ticket.call.model).pause(self._clock() + retry_after_s)

    async def orphan(self, owner: str) -> None:
        """This owner's process has ended: nobody waits for its calls any more."""
        async with self._changed:
            for entry in [entry for entry in self._open.values() if entry.owner == owner]:
                self._lose(entry.ticket, CallOutcome.lost)
            self._changed.notify_all()

    async def abandon(self) -> None:
        """The campaign stops: whatever is open is cancelled, and keeps its reservation."""
        async with self._changed:
            for entry in list(self._open.values()):
                self._lose(entry.ticket, CallOutcome.cancelled)

    async def forget(self, number: int) -> None:
        """Nothing more happens to this number: its replies need not be at hand any longer."""
        self._paid = {question: call for question, call in self._paid.items() if call.number != number}

    # ---- trials ---------------------------------------------------------------------------------------------------

    async def reserve(self, account: str, worst: Cost, trial_id: str, *, anew: bool = False) -> Reservation | Refusal:
        """Leave for one attempt at a trial; whoever asks again before it is settled gets the same reservation.

        `anew`: that was for an attempt which was cut off and is booked, so room for another one is asked for.
        """
        if anew and (former := self._training.pop(trial_id, None)) is not None:
            self.ledger.release(former)
        held = self._training.get(trial_id)
        answer = self.ledger.reserve(account, worst) if held is None else held
        if isinstance(answer, Reservation):
            self._training[trial_id] = answer
        return answer

    async def settle(self, reservation: Reservation, charge: Charge) -> None:
        """Book what the attempt took, here and as a row; once, whoever was killed before it heard so asks again."""
        known = charge.charge_id in self._charged
        self.ledger.settle(reservation, Cost() if known else cost_of(charge))
        self._training.pop(charge.trial_id, None)
        if not known:
            self._charged.add(charge.charge_id)
            async with self._changed:
                self._put(charge)

    async def book(self, charge: Charge) -> None:
        """The same for an attempt whose end nobody answered for; its reservation is given up by who tries again."""
        if charge.charge_id in self._charged:
            return
        self._charged.add(charge.charge_id)
        self.ledger.restore([Spend(account=account_of(charge), settled=cost_of(charge), num_settled=1)])
        async with self._changed:
            self._put(charge)

    async def num_open(self) -> int:
        """Calls of models that wait for an answer."""
        return len(self._open)

    # ---- the books ------------------------------------------------------------------------------------------------

    async def rows(self, *, wait: bool = True) -> tuple[Booked, ...]:
        """Rows that were not taken before, in order; with `wait`, as soon as there are some."""
        async with self._changed:
            while wait and self._outbox.num_taken == len(self._outbox.records) + self._outbox.num_written:
                await self._changed.wait()
            taken = tuple(self._outbox.records[self._outbox.num_taken - self._outbox.num_written :])
            self._outbox.num_taken += len(taken)
            return taken

    async def written(self, num: int) -> None:
        """The first `num` rows of those that were taken are on disk."""
        async with self._changed:
            del self._outbox.records[:num]
            self._outbox.num_written += num
            self._changed.notify_all()

    async def flush(self) -> None:
        """Wait until everything that is booked at this moment is on disk."""
        async with self._changed:
            place = self._outbox.num_written + len(self._outbox.records)
            while self._write_ahead and self._outbox.num_written < place:
                await self._changed.wait()

    def _put(self, *records: Booked) -> int:
        self._outbox.records += records
        self._changed.notify_all()
        return self._outbox.num_written + len(self._outbox.records)

    def _book(self, ticket: Ticket, call: LlmCall) -> None:
        assert ticket.reservation is not None
        if call.outcome.unanswered:
            worst = ticket.reservation.worst
            self.ledger.keep(ticket.reservation)
            call = dataclasses.replace(call, held_usd=worst.usd, held_tokens=worst.tokens)
        else:
            tokens = call.input_tokens + call.output_tokens
            self.ledger.settle(ticket.reservation, Cost(usd=call.usd, tokens=tokens))
        if call.outcome.charged:
            self._paid[_question(ticket.call)] = call
        self._rate(ticket.call.model).end()
        self._put(call)

    def _lose(self, ticket: Ticket, outcome: CallOutcome) -> None:
        del self._open[ticket.call.call_id]
        self._book(ticket, dataclasses.replace(ticket.call, outcome=outcome, detail="nobody waited for the answer"))

    def _expire(self) -> None:
        now = self._clock()
        for entry in [entry for entry in self._open.values() if entry.expires_at < now]:
            self._lose(entry.ticket, CallOutcome.lost)

    async def _sleep(self, wait_s: float | None) -> None:
        """Until something changed, or the wait is over; what expires meanwhile is seen each second."""
        try:
            async with asyncio.timeout(min(_POLL_S, _POLL_S if wait_s is None else wait_s)):
                await self._changed.wait()
        except TimeoutError:
            pass

    def _rate(self, model: str) -> Rates:
        return self._rates.setdefault(model, Rates(8, None, None))


def unanswered_in(events: Sequence[Event], calls: Sequence[LlmCall]) -> tuple[LlmCall, ...]:
    """Calls of an earlier process that were opened and never booked, as lost rows that keep their reservations."""
    booked = {call.call_id for call in calls}
    lost = []
    for event in events:
        call_id = event.subject.removeprefix(CALL_INTENT)
        if event.kind == "intent" and event.subject.startswith(CALL_INTENT) and call_id not in booked:
            known = json.loads(event.detail)
            lost.append(LlmCall(**{**known, "outcome": CallOutcome.lost, "detail": "the campaign's process ended"}))
    return tuple(lost)


def spends_of(calls: Iterable[LlmCall]) -> tuple[Spend, ...]:
    """What the calls of a store took, for a new ledger."""
    spends = []
    for call in calls:
        settled = Cost(usd=call.usd, tokens=call.input_tokens + call.output_tokens)
        held = Cost(usd=call.held_usd, tokens=call.held_tokens)
        unanswered = call.outcome.unanswered
        spends.append(
            Spend(
                account=f"model/{call.model}",
                settled=settled,
                held=held,
                num_settled=0 if unanswered else 1,
                num_held=1 if unanswered else 0,
            )
        )
    return tuple(spends)


def _question(call: LlmCall) -> tuple[object, ...]:
    return (
        *(call.role, call.purpose, call.number, call.attempt, call.sample, call.turn),
        *(call.model, call.prompt_hash),
    )


def _intent(ticket: Ticket) -> Event:
    """The call's row as it would be if nothing more were heard of it, its texts left out."""
    call, reservation = ticket.call, ticket.reservation
    assert reservation is not None
    known = dataclasses.asdict(dataclasses.replace(call, messages="", outcome=CallOutcome.lost))
    known |= {"held_usd": reservation.worst.usd, "held_tokens": reservation.worst.tokens}
    return Event(
        event_id=uuid.uuid4().hex,
        kind="intent",
        subject=f"{CALL_INTENT}{call.call_id}",
        detail=json.dumps(known),
        created_at=call.created_at,
    )
