"""The client that agents ask: chooses a model, keeps the books, tries again, falls back, and complains once.

Everything that goes wrong with models ends here as one of two things: a result, or `NoAnswer` with what was tried.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from pydantic import BaseModel

from agents.ledger import Cost, Refusal
from agents.llm.prices import actual_usd, worst_cost
from agents.llm.secrets import redacted, secrets_in
from agents.llm.settings import LlmSettings, ModelSettings, Price, Retries
from agents.llm.wire import CallFailed, Completion, Line, Message, Request
from agents.prompting import Prompt, correction
from agents.purse import Ticket
from cognition.records import CallOutcome, Candidate, LlmCall

T = TypeVar("T")

_LONGEST_KEPT = 200_000  # characters of a reply that a row keeps; what is longer loses its middle
_MARK = 60  # characters
_LONGEST_QUOTED = 40_000  # ... and that is sent back with a complaint


class Unreadable(Exception):
    """A reply without what was asked for; the text says what is missing, to whoever wrote the reply."""


class NoAnswer(Exception):
    """No model gave a usable answer; the text says what was tried."""


class NobodyToAsk(Exception):
    """Every model of a role refuses its key, or has used up its quota; or a recording has ended: no use to go on."""


class BudgetExhausted(Exception):
    """A call was not made because its worst cost does not fit the budget any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A completion to read."""

    text: str
    cut_off: bool
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked, by whom, and what it is about: two with the same fields are the same question."""

    role: str
    purpose: str
    prompt: Prompt
    number: int
    attempt: int = 0
    sample: int = 0
    arm: str = ""
    candidate_id: str | None = None
    form: type[BaseModel] | None = None  # a typed reply; None: text to be read
    horizon: int | None = None  # rewards that count for the choice of a model


class BooksOfCalls(Protocol):
    """The part of the purse that a client needs; `agents.purse.Purse`, or an actor that hosts one."""

    async def choose(self, role: str, number: int, attempt: int, horizon: int | None = None) -> tuple[str, ...]: ...

    async def open(self, call: LlmCall, worst: Cost, owner: str = "") -> Ticket | Refusal: ...

    async def close(self, ticket: Ticket, call: LlmCall, *, retry_after_s: float = 0.0) -> None: ...


class Client:
    """Asks language models for the roles of `settings`."""

    def __init__(
        self,
        settings: LlmSettings,
        prices: Mapping[str, Price],
        books: BooksOfCalls,
        line: Line,
        *,
        owner: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.settings = settings
        self._owner = owner
        self._prices, self._books, self._line = dict(prices), books, line
        self._models = {model.model: model for model in settings.models.values()}
        self._secrets = secrets_in(environment)

    async def ask(self, question: Question, read: Callable[[Answer], T]) -> T:
        """What `read` makes of the answer; it raises Unreadable with a complaint, which the model gets to see once.

        Raises:
            NoAnswer: every model of the role failed.
            NobodyToAsk: and every one for good.
            BudgetExhausted: before a call that the budget has no room for.
        """
        names = await self._books.choose(question.role, question.number, question.attempt, question.horizon)
        tried: list[str] = []
        hopeless = bool(names)
        for name in names:
            try:
                return await self._with_model(self._models[name], question, read)
            except CallFailed as failure:
                tried.append(f"{name}: {redacted(_storable(str(failure)), self._secrets)}")
                hopeless = hopeless and failure.hopeless
        if hopeless:
            raise NobodyToAsk("; ".join(tried))
        raise NoAnswer("; ".join(tried) or f"no model plays the role {question.role}")

    async def _with_model(self, model: ModelSettings, question: Question, read: Callable[[Answer], T]) -> T:
        messages: list[Message] = list(question.prompt.messages)
        for turn in range(1 + self.settings.max_corrections):
            completion = await self._until_answered(model, question, messages, turn, read)
            if not isinstance(completion, _Complaint):
                return completion
            complaint = completion
            messages += [
                {"role": "assistant", "content": _shortened(complaint.reply, _LONGEST_QUOTED) or "(nothing)"},
                {"role": "user", "content": correction(complaint.text)},
            ]
        raise CallFailed(complaint.outcome, complaint.text)

    async def _until_answered(
        self,
        model: ModelSettings,
        question: Question,
        messages: list[Message],
        turn: int,
        read: Callable[[Answer], T],
    ) -> T | _Complaint:
        """One turn: tried until it is answered, as long as that may help."""
        retries, num = self.settings.retries, 0
        while True:
            try:
                return await self._once(model, question, messages, turn, read)
            except CallFailed as failure:
                if failure.drop is not None:
                    continue  # at once, without that parameter: the line has taken note
                if not worth_another_try(failure, retries, num):
                    raise
                num += 1
                await asyncio.sleep(pause_s(retries, num, failure.retry_after_s))

    async def _once(
        self,
        model: ModelSettings,
        question: Question,
        messages: list[Message],
        turn: int,
        read: Callable[[Answer], T],
    ) -> T | _Complaint:
        """One call: opened, made, read, closed; or answered from what was paid for before."""
        role = self.settings.role(question.role)
        text = json.dumps(messages, ensure_ascii=False)
        call = self._row(model, question, text, turn)
        price = self._prices[model.model]
        worst = worst_cost(price, len(text.encode("utf-8", "replace")), role.max_output_tokens)
        ticket = await self._books.open(call, worst, self._owner)
        if isinstance(ticket, Refusal):
            raise BudgetExhausted(ticket.reason)
        if ticket.paid is not None:
            return _read(ticket.paid.reply, ticket.paid.outcome, ticket.paid.model, read)
        request = Request(
            messages=messages,
            form=question.form,
            temperature=role.temperature,
            max_output_tokens=role.max_output_tokens,
            call=call,
        )
        since = time.monotonic()
        try:
            completion = await self._line.send(model, request)
        except CallFailed as failure:
            row = dataclasses.replace(
                ticket.call,
                outcome=failure.outcome,
                detail=redacted(_storable(failure.detail), self._secrets),
                latency_s=time.monotonic() - since,
            )
            pause_s = min(failure.retry_after_s or 0.0, self.settings.retries.most_s)
            await self._books.close(ticket, row, retry_after_s=pause_s)
            raise
        return await self._booked(ticket, price, completion, time.monotonic() - since, read)

    async def _booked(
        self, ticket: Ticket, price: Price, completion: Completion, latency_s: float, read: Callable[[Answer], T]
    ) -> T | _Complaint:
        """Read first, so that the call's row says whether it was of use, and of which candidate it is."""
        name = completion.model or ticket.call.model
        reply = _shortened(redacted(_storable(completion.text), self._secrets))
        result = _read(reply, CallOutcome.cut_off if completion.cut_off else CallOutcome.answered, name, read)
        row = dataclasses.replace(
            ticket.call,
            model=name,
            reply=reply,
            outcome=result.outcome if isinstance(result, _Complaint) else CallOutcome.answered,
            detail=result.text if isinstance(result, _Complaint) else "",
            input_tokens=completion.input_tokens,
            cached_tokens=completion.cached_tokens,
            output_tokens=completion.output_tokens,
            usd=actual_usd(
                price,
                input_tokens=completion.input_tokens,
                cached_tokens=completion.cached_tokens,
                written_tokens=completion.written_tokens,
                output_tokens=completion.output_tokens,
            ),
            latency_s=latency_s,
            candidate_id=result.candidate_id if isinstance(result, Candidate) else ticket.call.candidate_id,
        )
        await self._books.close(ticket, row)
        return result

    def _row(self, model: ModelSettings, question: Question, text: str, turn: int) -> LlmCall:
        return LlmCall(
            call_id="",
            role=question.role,
            purpose=question.purpose,
            number=question.number,
            attempt=question.attempt,
            sample=question.sample,
            turn=turn,
            arm=question.arm,
            candidate_id=question.candidate_id,
            model=model.model,
            prompt=question.prompt.name,
            prompt_version=question.prompt.version,
            prompt_hash=hashlib.sha256(text.encode()).hexdigest()[:16],
            messages=redacted(text, self._secrets),
            outcome=CallOutcome.lost,
        )


def worth_another_try(failure: CallFailed, retries: Retries, num: int) -> bool:
    """Whether the same call is made again after it was so `num` times already."""
    patience = failure.retry_after_s is None or failure.retry_after_s <= retries.most_s
    return failure.worth_retrying and patience and num < retries.num


def pause_s(retries: Retries, num: int, retry_after_s: float | None) -> float:
    """How long the `num`-th try again waits: what the provider asks for, or longer each time, with jitter."""
    backoff = min(retries.most_s, retries.base_s * 2.0 ** (num - 1)) * random.uniform(0.5, 1.0)
    return max(backoff, retry_after_s or 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Complaint:
    """What is wrong with a reply."""

    text: str
    reply: str
    outcome: CallOutcome


def _read(reply: str, outcome: CallOutcome, model: str, read: Callable[[Answer], T]) -> T | _Complaint:
    cut_off = outcome is CallOutcome.cut_off
    try:
        return read(Answer(text=reply, cut_off=cut_off, model=model))
    except Exception as error:  # noqa: BLE001  # whatever a model's text does to a reader, its call has to be booked
        what = str(error) if isinstance(error, Unreadable) else f"it cannot be read ({type(error).__name__})"
        if cut_off:
            what = f"the reply was cut off at the limit of output tokens: {what}"
        return _Complaint(text=what, reply=reply, outcome=outcome if cut_off else CallOutcome.unreadable)


def _storable(text: str) -> str:
    """Without lone surrogates, which JSON may hold and files may not."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _shortened(text: str, most: int = _LONGEST_KEPT) -> str:
    if len(text) <= most:
        return text
    half = (most - _MARK) // 2  # with the mark it is not longer than that: a recording is kept as it is
    return f"{text[:half]}\n[{len(text) - 2 * half} characters left out]\n{text[-half:]}"
