"""A campaign's rows: the store, the population that mirrors it, and who is told of each new row."""

from __future__ import annotations

import dataclasses
import json
import time
import uuid
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from agents.brief import Curve
from cognition.reader import Reader
from cognition.records import RECORDS, CallOutcome, Candidate, Event, LlmCall, Metric, Record, Vector
from cognition.schema import columns_of
from cognition.store import Store
from orchestrator.errors import UsageError
from orchestrator.pace import paces_in
from orchestrator.population import Population


class Rows:
    """The one writer of a campaign's store.

    Raises:
        UsageError: the store cannot be opened.
    """

    def __init__(self, folder: Path, told: Callable[[Record], None], first_stage: str | None = None) -> None:
        self.folder = folder
        try:
            self._store = Store.open(folder)
        except ValueError as error:
            raise UsageError(str(error)) from error
        self.set_aside = self._store.set_aside
        self._reader = reader = Reader(folder)
        large = (Metric, LlmCall, Vector)  # curves, texts and vectors stay in the store
        known = (record for kind in RECORDS if kind not in large for record in reader.rows(kind))
        self.population = Population(known, first_stage)
        for call in self._calls(without=("messages", "reply")):
            self.population.add(call)
        self.paces = paces_in(reader)
        self._told = told

    def record(self, *records: Record) -> None:
        """One durable commit; then everybody knows."""
        if not records:
            return
        self._store.append(*records)
        for record in records:
            self.population.add(record)
            self._told(record)

    def admit(self, candidate: Candidate) -> Candidate:
        """The candidate as it was admitted; an exact duplicate gets a report later, and no row."""
        candidate = dataclasses.replace(candidate, created_at=time.time())
        if self.population.candidate(candidate.candidate_id) is None:
            self.record(candidate)
        return candidate

    def answered_calls(self, closed: Collection[int]) -> Sequence[LlmCall]:
        """Calls with their replies that were paid for by numbers which are not closed: they are not paid for again."""
        numbers = ", ".join(map(str, sorted(closed)))
        return [
            call
            for call in self._calls(where=f"number NOT IN ({numbers})" if numbers else "true")
            if call.outcome.charged
        ]

    def curve(self, trial_id: str) -> Curve:
        """The training curve of a trial's text, from the store."""
        assert trial_id.replace("-", "").replace("_", "").isalnum(), trial_id
        found = self._reader.query(f"SELECT step, loss FROM curves WHERE trial_id = '{trial_id}' AND task = 'text'")
        return tuple((int(step), float(loss)) for step, loss in found.rows)

    def vectors(self, embedder: str) -> Sequence[Vector]:
        """The vectors of one embedder."""
        return [vector for vector in self._reader.rows(Vector) if vector.embedder == embedder]

    def questions(self, number: int, attempt: int) -> Sequence[str]:
        """What models were sent for the proposal of one attempt, answered or not."""
        found = self._reader.query(
            "SELECT messages FROM llm_calls WHERE purpose = 'propose' "
            f"AND number = {int(number)} AND attempt = {int(attempt)}"
        )
        return [str(json.loads(messages)) for (messages,) in found.rows if messages]

    def _calls(self, without: Collection[str] = (), where: str = "true") -> Sequence[LlmCall]:
        names = [column.name for column in columns_of(LlmCall) if column.name not in without]
        found = self._reader.query(f"SELECT {', '.join(names)} FROM llm_calls WHERE {where} ORDER BY created_at")
        calls = [dict(zip(names, row, strict=True)) for row in found.rows]
        return [LlmCall(**{**call, "outcome": CallOutcome(call["outcome"])}) for call in calls]

    def intend(self, subject: str) -> None:
        """Write ahead what is about to cost something."""
        self.record(event("intent", subject=subject))

    def close(self) -> None:
        self._store.close()


def event(kind: str, subject: str = "", detail: str = "") -> Event:
    """An event of now."""
    return Event(event_id=uuid.uuid4().hex, kind=kind, subject=subject, detail=detail, created_at=time.time())
