"""A campaign's rows: the store, the population that mirrors it, and who is told of each new row.

The population is ahead of the disk while the file system refuses: see `orchestrator.outbox`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeVar

from agents.brief import Curve
from cognition.folders import Folder, Place
from cognition.manifest import SetAside
from cognition.reader import NoLineage, Reader
from cognition.records import RECORDS, CallOutcome, Candidate, Event, LlmCall, Metric, Record, Trial, Vector
from cognition.schema import columns_of
from cognition.store import Store
from models.scale import TEXT
from orchestrator.early_stopping.recalled import Recalled
from orchestrator.early_stopping.settings import StoppingSettings
from orchestrator.errors import UsageError
from orchestrator.outbox import Outbox, Sink
from orchestrator.pace import Paces, paces_in
from orchestrator.population import Population

T = TypeVar("T")

_READ_AGAIN_S = 0.5
# What happens to a campaign, as kinds of events.
STARTED = "campaign_started"
RESUMED = "campaign_resumed"
FINISHED = "campaign_finished"
STOPPING = "campaign_stopping"
STOPPED = "campaign_stopped"


class Rows:
    """The one writer of a campaign's store.

    Raises:
        UsageError: the store cannot be opened.
    """

    def __init__(
        self,
        folder: Folder | Place,
        told: Callable[[Record], None],
        first_stage: str | None = None,
        patience_s: float = 600.0,
        confirm: Callable[[], None] = lambda: None,
        new: Sink | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open the store, and read what is in it.

        Args:
            folder: the run folder, or its path or URI.
            told: hears of each new row.
            first_stage: of the ladder.
            patience_s: how long the folder may refuse before the campaign ends.
            confirm: raises where this process may no longer write; see `Store.open`.
            new: in place of the folder's store, one that holds nothing yet.
            clock: seconds that only go forward.
        """
        self.folder = folder
        self._patience_s = patience_s
        self._told = told
        self._read: Reader | None = None
        self.set_aside: tuple[SetAside, ...] = ()
        self.population, self.paces = Population(first_stage=first_stage), Paces()
        if new is not None:
            self._outbox = Outbox(new, patience_s, self._report, clock)
            return
        try:
            store = Store.open(folder, confirm=confirm)
        except ValueError as error:
            raise UsageError(str(error)) from error
        except OSError as error:
            raise UsageError(
                f"the store in {folder} cannot be opened ({error}): make room on the disk or mend the folder"
            ) from error
        self._outbox = Outbox(store, patience_s, self._report, clock)
        self.set_aside = store.set_aside
        try:
            large = (Metric, LlmCall, Vector)  # curves, texts and vectors stay in the store
            known = (record for kind in RECORDS if kind not in large for record in self._reader.rows(kind))
            self.population = Population(known, first_stage)
            for call in self._calls(without=("messages", "reply")):
                self.population.add(call)
            self.paces = paces_in(self._reader)
        except OSError as error:
            raise UsageError(f"the store in {folder} cannot be read ({error}): mend the folder") from error

    def record(self, *records: Record) -> None:
        """One group, and everybody knows; durable at once unless the disk is busy or refuses: then see `on_disk`."""
        if not records:
            return
        self._outbox.put(*records)
        for record in records:
            self.population.add(record)
            self._told(record)

    @property
    def _reader(self) -> Reader:
        self._read = self._read or Reader(self.folder)
        return self._read

    def _report(self, kind: str, detail: str) -> None:
        self.record(event(kind, detail=detail))

    async def on_disk(self) -> None:
        """Wait until everything recorded so far is durable. Raises UsageError when patience is over."""
        await self._outbox.on_disk()

    async def read(self, ask: Callable[[], T]) -> T:
        """What `ask` finds in the store, which then holds everything recorded so far.

        Raises:
            UsageError: the file system has refused for longer than patience lasts.
        """
        give_up = time.monotonic() + self._patience_s
        while True:
            await self.on_disk()
            try:
                return ask()
            except (OSError, NoLineage) as error:
                if time.monotonic() > give_up:
                    raise UsageError(
                        f"the store in {self.folder} cannot be read ({error}): mend the folder, and the same command "
                        "goes on"
                    ) from error
            await asyncio.sleep(_READ_AGAIN_S)

    @property
    def held(self) -> bool:
        """The file system refuses at this moment."""
        return self._outbox.holds

    @property
    def broken(self) -> str | None:
        """Why nothing can be written any more; None: it can, or patience is not over yet."""
        return self._outbox.broken

    def hurry(self) -> None:
        """The campaign stops: what is held gets a last chance of a few seconds."""
        self._outbox.hurry()

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
        return self._curves([trial_id])[trial_id]

    def past(self, policies: Mapping[str, StoppingSettings], num_founders: int) -> Recalled:
        """What these stages' stopping policies compare with: founders' trials, and those of the latest candidates."""
        if not policies:
            return Recalled()
        numbers = {candidate.candidate_id: candidate.number for candidate in self.population.candidates()}
        trials: list[Trial] = []
        for stage, policy in policies.items():
            by_seed: dict[int, list[Trial]] = {}
            for trial in self.population.trials(stage):
                if trial.candidate_id in numbers:
                    by_seed.setdefault(trial.seed, []).append(trial)
            for ended in by_seed.values():
                ended.sort(key=lambda trial: numbers[trial.candidate_id])
                first = sum(numbers[trial.candidate_id] < num_founders for trial in ended)
                trials += [*ended[:first], *ended[first:][-2 * policy.most_peers :]]
        return Recalled(
            trials=trials,
            curves=self._curves([trial.trial_id for trial in trials]),
            numbers={trial.candidate_id: numbers[trial.candidate_id] for trial in trials},
            decided=tuple(self.population.early_stops.values()),
        )

    def _curves(self, trial_ids: Sequence[str]) -> dict[str, Curve]:
        """Training curves of these trials' text, by trial."""
        found: dict[str, list[tuple[int, float]]] = {trial_id: [] for trial_id in trial_ids}
        if not found:
            return {}
        listed = ", ".join("'" + trial_id.replace("'", "''") + "'" for trial_id in found)
        points = self._reader.query(
            f"SELECT trial_id, step, loss FROM curves WHERE task = '{TEXT}' AND trial_id IN ({listed}) "
            "ORDER BY trial_id, step"
        )
        for trial_id, step, loss in points.rows:
            found[trial_id].append((int(step), float(loss)))
        return {trial_id: tuple(curve) for trial_id, curve in found.items()}

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
        # As they were written: what is stamped may be out of order where the clock was set.
        found = self._reader.query(f"SELECT {', '.join(names)} FROM llm_calls WHERE {where}")
        calls = [dict(zip(names, row, strict=True)) for row in found.rows]
        return [LlmCall(**{**call, "outcome": CallOutcome(call["outcome"])}) for call in calls]

    async def intend(self, subject: str) -> None:
        """Write ahead what is about to cost something; on disk when this returns."""
        self.record(event("intent", subject=subject))
        await self.on_disk()

    def close(self) -> None:
        self._outbox.close()


def event(kind: str, subject: str = "", detail: str = "") -> Event:
    """An event of now."""
    return Event(event_id=uuid.uuid4().hex, kind=kind, subject=subject, detail=detail, created_at=time.time())
