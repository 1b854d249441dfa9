"""Embeddings by a model: in batches, through the purse, of unit length and one dimension; or a failure with its kind.

Vectors are not kept with the calls that made them: who wants them again stores them (table `vectors`).

Shapes: N texts, D dimensions.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from enum import StrEnum
from itertools import count
from typing import Protocol

import numpy as np

from agents.ledger import Limits, Refusal
from agents.llm.choice import model_named
from agents.llm.client import BooksOfCalls, pause_s, worth_another_try
from agents.llm.prices import actual_usd, price_of, worst_cost
from agents.llm.secrets import redacted, secrets_in
from agents.llm.settings import EmbeddingSettings, LlmSettings, ModelSettings, Price, Retries
from agents.llm.wire import CallFailed, Embedded, LiteLlmLine
from agents.purse import Purse, Ticket
from cognition.embedding import NoVectors, Vectors
from cognition.records import CallOutcome, LlmCall
from cognition.registered import Wish

ROLE, PURPOSE = "embedder", "embed"
_LONGEST = 12_000  # characters of a text that are read: embedders take about 8,000 tokens
_BATCH_CHARACTERS = 200_000
_PROBE = "linear attention"


class EmbeddingFailure(StrEnum):
    """Why there are no vectors."""

    budget = "budget"  # the budget has no room for the call
    provider = "provider"  # nobody answered, or the call was refused
    shape = "shape"  # what came are no usable vectors


class EmbeddingFailed(NoVectors):
    """No vectors; `kind` says why, and `hopeless` whether no other text will have some either."""

    def __init__(self, kind: EmbeddingFailure, detail: str, *, hopeless: bool = False) -> None:
        super().__init__(f"{kind.value}: {detail}")
        self.kind, self.detail, self.hopeless = kind, detail, hopeless


class EmbeddingLine(Protocol):
    """Where vectors come from."""

    async def embed(self, model: ModelSettings, texts: Sequence[str]) -> Embedded:
        """One call. Raises CallFailed."""
        ...


class LlmEmbedder:
    """Asks one model. Its dimension is the first answer's, or what is known of it from earlier vectors."""

    def __init__(
        self,
        settings: EmbeddingSettings,
        price: Price,
        books: BooksOfCalls,
        line: EmbeddingLine,
        *,
        retries: Retries | None = None,
        num_dimensions: int | None = None,
        owner: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        model = settings.as_model
        assert model is not None, "without a model the local embedder is used"
        self._settings = settings
        self._model, self._num_texts = model, settings.num_texts
        self._price, self._books, self._line = price, books, line
        self._retries, self._owner = retries or Retries(), owner
        self._num_dimensions = num_dimensions
        self._secrets = secrets_in(environment)

    @property
    def num_dimensions(self) -> int | None:
        """None before the first answer."""
        return self._num_dimensions

    async def name(self) -> str:
        """Model and dimension: vectors of one name are comparable. Asks for one vector where none has come yet.

        Raises:
            EmbeddingFailed: and none can be had.
        """
        if self._num_dimensions is None:
            await self.embed([_PROBE])
        return f"{self._model.model}/{self._num_dimensions}"

    async def embed(self, texts: Sequence[str], *, number: int = 0, arm: str = "") -> Vectors:
        """[N] texts -> [N, D], rows of unit length; zeros for a text without any content, which nobody is asked about.

        `number`: of the candidate that it is for, or 0. A text's first 12,000 characters count.

        Raises:
            EmbeddingFailed: there are none to be had; batches that were answered before stay paid for.
        """
        places = [place for place, text in enumerate(texts) if text.strip()]
        if not places and self._num_dimensions is None:
            await self.embed([_PROBE], number=number, arm=arm)
        found: dict[int, Vectors] = {}
        batches = _batches([(place, texts[place].strip()[:_LONGEST]) for place in places], self._num_texts)
        while batches:
            # The first answer says how many dimensions there are; after that several are asked for at once.
            num = self._settings.concurrency if self._num_dimensions is not None else 1
            asked, batches = batches[:num], batches[num:]
            calls = [self._until_answered([text for _, text in batch], number, arm) for batch in asked]
            for batch, rows in zip(asked, await asyncio.gather(*calls, return_exceptions=True), strict=True):
                if isinstance(rows, BaseException):
                    raise rows
                found |= {place: row for (place, _), row in zip(batch, rows, strict=True)}
        vectors = np.zeros((len(texts), self._num_dimensions or 0), dtype=np.float32)
        for place, row in found.items():
            vectors[place] = row
        return vectors

    async def _until_answered(self, texts: Sequence[str], number: int, arm: str) -> Vectors:
        num = 0
        while True:
            try:
                return await self._once(texts, number, arm)
            except CallFailed as failure:
                if failure.drop is not None:
                    continue  # at once, without that parameter: the line has taken note
                if not worth_another_try(failure, self._retries, num):
                    raise EmbeddingFailed(
                        EmbeddingFailure.provider,
                        f"{self._model.model}: {redacted(str(failure), self._secrets)}",
                        hopeless=failure.hopeless,
                    ) from failure
                num += 1
                await asyncio.sleep(pause_s(self._retries, num, failure.retry_after_s))

    async def _once(self, texts: Sequence[str], number: int, arm: str) -> Vectors:
        """One call: opened, made, checked, closed."""
        ticket = await self._opened(texts, number, arm)
        since = time.monotonic()
        try:
            answer = await self._line.embed(self._model, texts)
        except CallFailed as failure:
            detail = redacted(failure.detail, self._secrets)
            row = dataclasses.replace(
                ticket.call, outcome=failure.outcome, detail=detail, latency_s=time.monotonic() - since
            )
            pause = min(failure.retry_after_s or 0.0, self._retries.most_s)
            await self._books.close(ticket, row, retry_after_s=pause)
            raise
        wrong = self._wrong_with(answer.vectors)
        usd = actual_usd(
            self._price, input_tokens=answer.input_tokens, cached_tokens=0, written_tokens=0, output_tokens=0
        )
        row = dataclasses.replace(
            ticket.call,
            outcome=CallOutcome.unreadable if wrong else CallOutcome.answered,
            detail=wrong,
            input_tokens=answer.input_tokens,
            usd=usd,
            latency_s=time.monotonic() - since,
        )
        await self._books.close(ticket, row)
        if wrong:
            raise EmbeddingFailed(EmbeddingFailure.shape, f"{self._model.model}: {wrong}")
        vectors = np.array(answer.vectors, dtype=np.float64)
        self._num_dimensions = vectors.shape[1]
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)

    async def _opened(self, texts: Sequence[str], number: int, arm: str) -> Ticket:
        """Leave to make the call. What was paid for before is asked again: its vectors are not in the books."""
        sent = json.dumps(list(texts), ensure_ascii=False)
        for sample in count():
            call = LlmCall(
                call_id="",
                role=ROLE,
                purpose=PURPOSE,
                number=number,
                sample=sample,
                arm=arm,
                model=self._model.model,
                prompt="",
                prompt_version="",
                prompt_hash=hashlib.sha256(sent.encode("utf-8", "replace")).hexdigest()[:16],
                messages=redacted(sent.encode("utf-8", "replace").decode("utf-8"), self._secrets),
                outcome=CallOutcome.lost,
            )
            worst = worst_cost(self._price, len(sent.encode("utf-8", "replace")), 0)
            ticket = await self._books.open(call, worst, self._owner)
            if isinstance(ticket, Refusal):
                raise EmbeddingFailed(EmbeddingFailure.budget, ticket.reason, hopeless=True)
            if ticket.paid is None:
                return ticket
        raise AssertionError("counting ends never")

    def _wrong_with(self, vectors: Sequence[Sequence[float]]) -> str:
        """What keeps an answer from being vectors of this embedder; '' where nothing does."""
        lengths = {len(vector) for vector in vectors}
        if len(lengths) != 1 or 0 in lengths:
            return f"vectors of {sorted(lengths)} dimensions came"
        (length,) = lengths
        if self._num_dimensions not in (None, length):
            return f"vectors of {length} dimensions came, before they had {self._num_dimensions}"
        norms = np.linalg.norm(np.array(vectors, dtype=np.float64), axis=1)
        if not (np.isfinite(norms).all() and (norms > 0).all()):
            return "a vector without length, or one that is not finite, came"
        return ""


class BlockingEmbedder:
    """The same for commands: an Embedder of cognition, with a small budget of its own. Nothing is kept.

    Not for use within a running event loop.
    """

    def __init__(
        self,
        model: ModelSettings,
        price: Price,
        budget_usd: float,
        *,
        retries: Retries | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._settings = EmbeddingSettings(
            model=model.model, api_base=model.api_base, price=price, timeout_s=min(model.timeout_s, 60.0)
        )
        retries = retries or Retries(num=2, most_s=20.0)
        everything = LlmSettings(name=ROLE, embedding=self._settings, retries=retries)
        self._purse = Purse(Limits(usd=budget_usd), everything, {model.model: price}, write_ahead=False)
        self._line = LiteLlmLine()
        self._embedder = LlmEmbedder(
            self._settings, price, self._purse, self._line, retries=retries, environment=environment
        )

    @property
    def name(self) -> str:
        """Model and dimension. Asks for one vector where none has come yet. Raises EmbeddingFailed."""
        if self._embedder.num_dimensions is None:
            self.embed([_PROBE])
        return f"{self._settings.model}/{self._embedder.num_dimensions}"

    @property
    def spent_usd(self) -> float:
        """So far, with what is held for calls that nobody answered."""
        return self._purse.ledger.total().usd

    def embed(self, texts: Sequence[str]) -> Vectors:
        """[N] texts -> [N, D], as `LlmEmbedder.embed`. Raises EmbeddingFailed."""
        return asyncio.run(self._embed(texts))

    async def _embed(self, texts: Sequence[str]) -> Vectors:
        try:
            return await self._embedder.embed(texts)
        finally:
            await self._line.hang_up()


def embedder(wish: Wish) -> BlockingEmbedder:
    """The embedder of `cognition.embedders`. Raises NoVectors where the model is not named, or not to be had."""
    if wish.model is None:
        raise NoVectors("no embedding model is named: give one as LiteLLM writes it, openai/text-embedding-3-small")
    environment = os.environ
    try:
        model = model_named(wish.model, environment)
        price = Price(input=wish.price[0], output=wish.price[1]) if wish.price else price_of(model)
    except ValueError as error:
        raise NoVectors(redacted(str(error), secrets_in(environment))) from error
    return BlockingEmbedder(model, price, wish.budget_usd, environment=environment)


def _batches(texts: Sequence[tuple[int, str]], most: int) -> list[list[tuple[int, str]]]:
    """Texts in order, `most` and 200,000 characters at a time."""
    batches: list[list[tuple[int, str]]] = []
    size = 0
    for text in texts:
        if not batches or len(batches[-1]) >= most or size + len(text[1]) > _BATCH_CHARACTERS:
            batches.append([])
            size = 0
        batches[-1].append(text)
        size += len(text[1])
    return batches
