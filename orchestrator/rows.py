"""A campaign's rows: the store, the population that mirrors it, and who is told of each new row."""

from __future__ import annotations

import dataclasses
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from cognition.reader import Reader
from cognition.records import RECORDS, Candidate, Event, Metric, Record
from cognition.store import Store
from orchestrator.errors import UsageError
from orchestrator.pace import paces_in
from orchestrator.population import Population


class Rows:
    """The one writer of a campaign's store.

    Raises:
        UsageError: the store cannot be opened.
    """

    def __init__(self, folder: Path, told: Callable[[Record], None]) -> None:
        try:
            self._store = Store.open(folder)
        except ValueError as error:
            raise UsageError(str(error)) from error
        self.set_aside = self._store.set_aside
        reader = Reader(folder)
        self.population = Population(record for kind in RECORDS if kind is not Metric for record in reader.rows(kind))
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

    def intend(self, subject: str) -> None:
        """Write ahead what is about to cost something."""
        self.record(event("intent", subject=subject))

    def close(self) -> None:
        self._store.close()


def event(kind: str, subject: str = "", detail: str = "") -> Event:
    """An event of now."""
    return Event(event_id=uuid.uuid4().hex, kind=kind, subject=subject, detail=detail, created_at=time.time())
