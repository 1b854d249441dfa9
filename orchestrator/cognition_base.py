"""The cognition base of a campaign: the library and what was learned, as rows, and as what a brief is told of them.

In deterministic mode a brief's insights are searched among those that its number may know and nothing else, so that
ranks do not depend on the clock.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from agents.brief import Brief, Knowledge, Member
from agents.telling import entry_text, one_line
from agents.weakness import query_of, weakness_of_evidence
from cognition.documents import ENTRY, INSIGHT, Document, document_of_insight, documents_of, embedder_for
from cognition.embedding import Embedder, HashedNgrams, NoVectors
from cognition.matching import Match, match
from cognition.memory import Memory, Remembered
from cognition.records import Candidate, Insight, Origin, Paper, Retrieval, Vector
from cognition.retrieval import Index, RetrievalSettings
from orchestrator.arms import Arm
from orchestrator.cognition_settings import KNOWN, CognitionSettings, Known
from orchestrator.embedding import Prepared, Source
from orchestrator.population import Population
from orchestrator.rows import Rows, event

PAPER = "paper"
_AT_ONCE = 48  # entries whose vectors are asked for together
_OWN = 4  # insights on the first parent that a brief holds in any case


class CognitionBase:
    """Asked by the loop for each proposal of an arm that reads; keeps its rows in the store."""

    def __init__(
        self, settings: CognitionSettings, rows: Rows, *, deterministic: bool, source: Source | None = None
    ) -> None:
        """`source`: where vectors come from, where a model makes them; None: the local embedder."""
        self._settings, self._rows = settings, rows
        self._deterministic = deterministic
        self._source = source
        self._embedder: Embedder = HashedNgrams()
        self._ranking = RetrievalSettings(diversity=settings.diversity)
        self._entries = Index(self._embedder, self._ranking)
        self._memory = Memory(self._embedder, self._ranking)
        self._stored: dict[str, Vector] = {}  # the embedder's, by id of entry or insight
        self._num_remembered = 0  # of the population's insights
        self._told: dict[tuple[int, int], tuple[Retrieval, ...]] = {}

    @property
    def population(self) -> Population:
        return self._rows.population

    async def start(self, known: Known | None, *, searched: bool) -> None:
        """Write what is known to the store, at the campaign's first start; index it where some arm will search.

        `known`: the library and what is carried over; None: an earlier start has written them, and that counts.
        """
        if known is not None:
            papers, entries = self.population.papers, self.population.entries
            held = {insight.insight_id for insight in self.population.insights}
            self._rows.record(
                *(paper for key, paper in known.library.papers.items() if key not in papers),
                *(entry for key, entry in known.library.entries.items() if key not in entries),
                *(insight for insight in known.insights if insight.insight_id not in held),
                event(KNOWN, detail=f"{len(known.library.papers)} papers, {len(known.insights)} insights carried over"),
            )
        if searched:
            await self._open_indexes()

    async def tell(self, brief: Brief, arm: Arm, parents: Sequence[Member], reference: Member | None) -> Brief:
        """The brief with what bears on the weakness of its parents, as far as the arm may know it.

        `parents`: with the trials that are paired with the reference's.
        """
        known = brief.insights if arm.analysis else ()
        weakness = _weakness_of(brief, parents, reference, known)
        designs = (f"{parent.candidate.name} {' '.join(parent.candidate.changes)}" for parent in brief.parents[:2])
        question = " ".join((weakness, *designs))
        await self._prepare((weakness, question), known)
        found = _Found(brief=brief, query=weakness, now=time.time())
        knowledge: list[Knowledge] = []
        if arm.knowledge and self._settings.num_entries and len(self._entries):
            for hit in self._entries.search(weakness, self._settings.num_entries, brief.slot):
                entry = self.population.entries[hit.document.item_id]
                paper = self.population.papers[entry.paper_id]
                title = f"{paper.title} ({paper.year}){self._standing_of(paper)}"
                knowledge.append(Knowledge(key=entry.entry_id, title=title, text=entry_text(entry)))
                found.add(ENTRY, entry.entry_id, hit.score, entry.paper_id)
        insights = self._insights(brief, question, known) if known and self._settings.num_insights else []
        for remembered in insights:
            found.add(INSIGHT, remembered.insight.insight_id, remembered.score)
        self._told[brief.number, brief.attempt] = tuple(found.rows)
        return dataclasses.replace(
            brief,
            weakness=weakness,
            knowledge=tuple(knowledge),
            insights=tuple(remembered.insight for remembered in insights),
        )

    def shown(self, number: int, attempt: int, texts: Sequence[str]) -> None:
        """Write down what was retrieved for a proposal, and what of it stood in these texts of its question."""
        retrievals = self._told.pop((number, attempt), ())
        if (number, attempt) not in self.population.retrieved:
            self._rows.record(
                *(
                    dataclasses.replace(retrieval, in_prompt=any(f"[{retrieval.item_id}]" in text for text in texts))
                    for retrieval in retrievals
                )
            )

    async def trace(self, candidate: Candidate, horizon: int | None = None) -> None:
        """Write down where the elements of a design come from: as declared, and as matching finds it.

        `horizon`: as the candidate's brief had it (orchestrator.flow).
        """
        declared = {item.element: item for item in candidate.declared}
        elements = list(dict.fromkeys((*candidate.changes, *declared)))
        if not elements or candidate.candidate_id in self.population.traced:
            return
        known = [i for i in self.population.insights if i.from_run or horizon is None or i.number <= horizon]
        await self._prepare(elements, known if self._deterministic else ())
        if candidate.candidate_id in self.population.traced:
            return
        memory = self._memory_of(known)
        rows = []
        for element in elements:
            said = declared.get(element)
            source, found = self._nearest(element, candidate.slot, memory)
            near = found is not None and found.near
            rows.append(
                Origin(
                    candidate_id=candidate.candidate_id,
                    element=element,
                    declared=said.source if said else "",
                    declared_id=said.item_id if said else "",
                    matched=source if near else "own",
                    matched_id=found.document.item_id if found is not None and near else "",
                    similarity=found.similarity if found is not None else 0.0,
                )
            )
        self._rows.record(*rows)

    def _standing_of(self, paper: Paper) -> str:
        """What other papers say of this one."""
        others = self.population.papers.values()
        notes = [f"superseded by: {other.title}" for other in others if paper.paper_id in other.supersedes]
        notes += [f"contradicted by: {other.title}" for other in others if paper.paper_id in other.contradicts]
        return f"; {'; '.join(notes)}" if notes else ""

    def _insights(self, brief: Brief, question: str, known: Sequence[Insight]) -> list[Remembered]:
        """Those on the first parent, then those that say most about the question and are the surest."""
        found = self._memory_of(known).search(question, self._settings.num_insights, brief.slot)
        parent_id = brief.parents[0].candidate.candidate_id if brief.parents else ""
        ids = {remembered.insight.insight_id for remembered in found}
        own = [i for i in known if i.candidate_id == parent_id and i.insight_id not in ids][-_OWN:]
        first = [Remembered(insight=insight, score=0.0) for insight in own]
        return [*first, *found][: self._settings.num_insights]

    async def _open_indexes(self) -> None:
        """Index the entries that the campaign started with, and what was learned in earlier starts."""
        papers, entries = self.population.papers, self.population.entries
        documents = documents_of(entries.values(), papers)
        if self._source is not None:
            try:
                await self._open(Prepared(await self._source.name(), self._source.embed))
                for first in range(0, len(documents), _AT_ONCE):  # what was paid for is kept, whatever comes
                    await self._take_in(documents[first : first + _AT_ONCE])
                return
            except NoVectors as error:
                self._go_local(error)
        await self._open(embedder_for(documents))
        await self._take_in(documents)

    async def _open(self, embedder: Embedder) -> None:
        """Empty indexes, and the vectors that the store holds of an embedder."""
        vectors = await self._rows.read(lambda: self._rows.vectors(embedder.name))
        self._embedder = embedder
        self._entries, self._memory = Index(embedder, self._ranking), Memory(embedder, self._ranking)
        self._stored = {vector.item_id: vector for vector in vectors}
        self._num_remembered = 0

    async def _take_in(self, documents: Sequence[Document]) -> None:
        if isinstance(self._embedder, Prepared):
            missing = [document for document in documents if document.item_id not in self._stored]
            await self._embedder.prepare([text for document in missing for text in document.parts.values()])
        self._keep(self._entries.add(documents, self._held(document.item_id for document in documents)))

    async def _prepare(self, texts: Sequence[str], insights: Sequence[Insight]) -> None:
        """Have the vectors of texts, and of insights that have none yet, at hand; on failure go on locally.

        What is learned while vectors are on their way is fetched as well, so that the caller finds all of it.
        """
        while isinstance(embedder := self._embedder, Prepared):
            new = [*insights, *self.population.insights[self._num_remembered :]]
            wanted = [*texts, *(insight.claim for insight in new if insight.insight_id not in self._stored)]
            if embedder.knows(wanted):
                return
            try:
                await embedder.prepare(wanted)
            except NoVectors as error:
                if embedder is self._embedder:  # else another one has failed before
                    self._go_local(error)
                    await self._open_indexes()

    def _go_local(self, error: NoVectors) -> None:
        self._source = None
        detail = f"no vectors from the embedding model, the local embedder stands in: {one_line(str(error), 300)}"
        self._rows.record(event("warning", subject="embedding", detail=detail))

    def _memory_of(self, known: Sequence[Insight]) -> Memory:
        if not self._deterministic:
            new = self.population.insights[self._num_remembered :]
            self._num_remembered += len(new)
            self._keep(self._memory.add(new, self._held(insight.insight_id for insight in new)))
            return self._memory
        memory = Memory(self._embedder, self._ranking)
        self._keep(memory.add(known, self._held(insight.insight_id for insight in known)))
        return memory

    def _keep(self, made: Sequence[Vector]) -> None:
        new = [vector for vector in made if vector.item_id not in self._stored]
        self._stored |= {vector.item_id: vector for vector in new}
        self._rows.record(*new)

    def _held(self, item_ids: Iterable[str]) -> list[Vector]:
        return [self._stored[item_id] for item_id in item_ids if item_id in self._stored]

    def _nearest(self, element: str, slot: str, memory: Memory) -> tuple[str, Match | None]:
        """The entry or insight that is nearest to an element, and which of both it is."""
        entries = self._entries.search(element, 1, slot) if len(self._entries) else ()
        found = [
            (PAPER, match(element, hit.document, self.population.entries[hit.document.item_id].implementation))
            for hit in entries
        ]
        insights = memory.search(element, 1, slot)
        found += [(INSIGHT, match(element, document_of_insight(known.insight, 1.0))) for known in insights]
        return max(found, key=lambda pair: (pair[1].near, pair[1].similarity), default=("own", None))


@dataclass(slots=True, kw_only=True)
class _Found:
    """Collects the rows of one retrieval."""

    brief: Brief
    query: str
    now: float
    rows: list[Retrieval] = field(default_factory=list)

    def add(self, item: str, item_id: str, score: float, paper_id: str | None = None) -> None:
        rank = 1 + sum(row.item == item for row in self.rows)
        self.rows.append(
            Retrieval(
                number=self.brief.number,
                attempt=self.brief.attempt,
                arm=self.brief.arm,
                item=item,
                item_id=item_id,
                paper_id=paper_id,
                query=self.query,
                rank=rank,
                score=score,
                in_prompt=False,
                created_at=self.now,
            )
        )


def _weakness_of(brief: Brief, parents: Sequence[Member], reference: Member | None, known: Sequence[Insight]) -> str:
    """Of what is to be changed: the broken candidate, or the parents."""
    if brief.mode == "repair" and brief.broken is not None:
        failure = weakness_of_evidence(brief.broken.evidence)
        if failure is not None:
            return failure.text
    return query_of(parents, reference, known)
