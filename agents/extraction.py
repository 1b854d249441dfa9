"""The librarian: a paper's entries out of its text, by one language model, within a budget of its own.

Not covered: whether an entry says what the paper says. That is what the review is for.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from agents.ledger import Limits
from agents.llm.choice import model_named, model_offered
from agents.llm.client import Answer, BudgetExhausted, Client, NoAnswer, NobodyToAsk, Question, Unreadable
from agents.llm.prices import actual_usd, price_of, worst_cost
from agents.llm.secrets import redacted, secrets_in
from agents.llm.settings import LlmSettings, ModelSettings, Price, Retries, RoleSettings
from agents.llm.wire import Line, LiteLlmLine
from agents.prompting import Prompt, Section, fenced, prompt_of
from agents.purse import Purse
from agents.replies.forms import OPERATORS, PaperForm, read_form, schema_of
from cognition.adding import Check, Extraction, ExtractionFailed, Plan
from cognition.draft import ENTRY_FIELDS, PAPER_FIELDS
from cognition.library import LENGTHS, LibraryError
from cognition.registered import Wish

ROLE, PURPOSE, TASK = "librarian", "extract", "extract"
_MOST_BYTES = 54_000  # of a paper's text; what is longer loses its middle, which a careful reader would skim too
_SHARE_OF_BEGIN = 0.75
_MAX_INPUT, _MAX_OUTPUT = 26_000, 6_000  # tokens
_TYPICAL_OUTPUT = 2_500
_QUOTED_BYTES = 42_000  # a reply that is sent back with a complaint
_NUM_COMPLAINTS = 12  # there is one chance to mend them all
_REFERENCES = re.compile(r"^\W*(?:\d+\W+)?(references|bibliography)\W*$", re.I | re.M)
_LONG_FENCE = re.compile("`{5,}")
_RETRIES = Retries(num=2, base_s=1.0, most_s=20.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """As much of a text as is read."""

    text: str
    num_characters: int
    num_left_out: int


def fitted(text: str, most_bytes: int = _MOST_BYTES) -> Fitted:
    """Begin and end of a text that is too long, the end being that before its references; the cut is said in it."""
    size = len(text.encode("utf-8", "replace"))
    if size <= most_bytes:
        return Fitted(text=text, num_characters=len(text), num_left_out=0)
    marks = [found.start() for found in _REFERENCES.finditer(text) if found.start() > len(text) // 3]
    body = text[: marks[0]].rstrip() if marks else text
    most = int(most_bytes * len(text) / size)
    if len(body) <= most:
        left_out = len(text) - len(body)
        return Fitted(
            text=f"{body}\n\n[{left_out:,} characters of references and what follows them are left out]",
            num_characters=len(body),
            num_left_out=left_out,
        )
    begin = int(most * _SHARE_OF_BEGIN)
    end = most - begin
    left_out = len(text) - most
    mark = f"[{left_out:,} characters are left out here and at the end]" if marks else f"[{left_out:,} left out]"
    return Fitted(
        text=f"{body[:begin]}\n\n{mark}\n\n{body[len(body) - end :]}", num_characters=most, num_left_out=left_out
    )


def librarian_prompt(text: str) -> Prompt:
    """What the model is asked: the text stands in a fence that it cannot close, nor blow up by fences of its own."""
    text = _LONG_FENCE.sub("````", text)
    told = {name: f" ({LENGTHS[name][0]} to {LENGTHS[name][1]} characters)" for name in LENGTHS}
    return prompt_of(
        ROLE,
        TASK,
        [Section(title="The paper's text", items=[fenced(text, "text")])],
        fixed={
            "paper_fields": "\n".join(f"* `{name}`: {PAPER_FIELDS[name]}" for name in ("title", "year", "topic")),
            "entry_fields": "\n".join(f"* `{name}`: {what}{told.get(name, '')}" for name, what in ENTRY_FIELDS.items()),
            "operators": ", ".join(OPERATORS),
            "schema": schema_of(PaperForm),
        },
        max_tokens=_MAX_INPUT,
    )


class LlmExtractor:
    """Asks one model: the question, and one correction where the answer does not fit."""

    def __init__(
        self,
        model: ModelSettings,
        price: Price,
        budget_usd: float,
        *,
        line: Line | None = None,
        environment: Mapping[str, str] | None = None,
        retries: Retries = _RETRIES,
    ) -> None:
        self._model, self._price, self._budget_usd = model, price, budget_usd
        self._line, self._environment = line or LiteLlmLine(), environment
        role = RoleSettings(
            models={"reader": 1.0},
            choice="weights",
            temperature=0.2,
            max_input_tokens=_MAX_INPUT,
            max_output_tokens=_MAX_OUTPUT,
        )
        self._settings = LlmSettings(
            name="librarian", models={"reader": model}, roles={ROLE: role}, retries=retries, max_corrections=1
        )

    def plan(self, text: str) -> Plan:
        """What reading takes. Raises ExtractionFailed where its worst cost is above the budget."""
        part = fitted(text)
        prompt = librarian_prompt(part.text)
        size = len((prompt.system + prompt.user).encode("utf-8", "replace"))
        first = worst_cost(self._price, size, _MAX_OUTPUT)
        second = worst_cost(self._price, size + _QUOTED_BYTES, _MAX_OUTPUT)
        worst = first.usd + second.usd
        if worst > self._budget_usd:
            raise ExtractionFailed(
                f"{self._model.model} may cost ${worst:.4f} for this text, --budget-usd is {self._budget_usd:g}: raise "
                "it, name a cheaper --model, give a shorter text, or write a skeleton with --model none"
            )
        expected = actual_usd(
            self._price, input_tokens=size // 4, cached_tokens=0, written_tokens=0, output_tokens=_TYPICAL_OUTPUT
        )
        return Plan(
            model=self._model.model,
            num_characters=part.num_characters,
            num_left_out=part.num_left_out,
            expected_usd=min(expected, worst),
            worst_usd=worst,
        )

    def extract(self, text: str, check: Check) -> Extraction:
        """The model's values, once they pass `check`. Raises ExtractionFailed with what was tried and what it cost."""
        return asyncio.run(self._to_its_end(text, check))

    async def _to_its_end(self, text: str, check: Check) -> Extraction:
        try:
            return await self._extract(text, check)
        finally:
            if isinstance(self._line, LiteLlmLine):
                await self._line.hang_up()

    async def _extract(self, text: str, check: Check) -> Extraction:
        prices = {self._model.model: self._price}
        purse = Purse(Limits(usd=self._budget_usd), self._settings, prices, write_ahead=False)
        client = Client(self._settings, prices, purse, self._line, environment=self._environment)
        question = Question(
            role=ROLE, purpose=PURPOSE, prompt=librarian_prompt(fitted(text).text), number=0, form=PaperForm
        )

        def read(answer: Answer) -> PaperForm:
            form = read_form(answer, PaperForm, num_errors=_NUM_COMPLAINTS)
            try:
                check(form.model_dump())
            except LibraryError as error:
                raise Unreadable(str(error)) from error
            return form

        try:
            form = await client.ask(question, read)
        except NobodyToAsk as error:
            raise _failed(error, purse, "mend the key or the account, or name another --model") from error
        except NoAnswer as error:
            raise _failed(
                error, purse, "try again, name another --model, or use --model none for a skeleton"
            ) from error
        except BudgetExhausted as error:
            raise _failed(error, purse, "raise --budget-usd, or name a cheaper --model") from error
        return Extraction(values=form.model_dump(), model=self._model.model, usd=purse.ledger.total().usd)


def extractor(wish: Wish) -> LlmExtractor | None:
    """The extractor of `cognition.extractors`: the model that is named, else what the environment offers, else None.

    Raises:
        ExtractionFailed: it cannot be asked, or nobody knows its price.
    """
    environment = os.environ
    try:
        model = model_offered(environment) if wish.model is None else model_named(wish.model, environment)
    except ValueError as error:
        raise ExtractionFailed(redacted(str(error), secrets_in(environment))) from error
    if model is None:
        return None
    stated = None if wish.price is None else Price(input=wish.price[0], output=wish.price[1])
    try:
        price = stated or price_of(model)
    except ValueError as error:
        raise ExtractionFailed(
            f"the price of {model.model} is not known: state it with --price INPUT OUTPUT, in US dollars per million "
            "tokens, or name another --model"
        ) from error
    return LlmExtractor(model, price, wish.budget_usd, environment=environment)


def _failed(error: Exception, purse: Purse, remedy: str) -> ExtractionFailed:
    total, held = purse.ledger.total().usd, sum(spend.held.usd for spend in purse.ledger.spent())
    spent = f"${total - held:.4f} spent" + (f", ${held:.4f} for calls that nobody answered" if held else "")
    return ExtractionFailed(f"no entries: {error} ({spent}); {remedy}")
