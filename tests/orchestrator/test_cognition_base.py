"""The cognition base over a real store: what it writes, what a brief is told, and what a dead embedder does to it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from agents.ledger import Limits
from agents.llm.embedding import LlmEmbedder
from agents.llm.settings import EmbeddingSettings, LlmSettings, Price, Retries
from agents.llm.wire import LiteLlmLine
from agents.purse import Purse
from cognition.embedding import HashedNgrams, NoVectors, Vectors
from cognition.insights import with_pool
from cognition.library import load_library
from cognition.reader import Reader
from cognition.records import Candidate, Declared, Insight, Origin, Retrieval, Vector
from cognition.store import Store
from orchestrator.arms import arm_named
from orchestrator.cognition_base import CognitionBase
from orchestrator.cognition_settings import CognitionSettings, Known, carried_from, known_at_first, library_of
from orchestrator.embedding import Source
from orchestrator.errors import UsageError
from orchestrator.rows import Rows
from tests.agents.readers import OLD, brief
from tests.cognition.test_insights import grown, insight
from tests.cognition.test_library import write
from tests.model_server.brain import answer
from tests.model_server.server import ModelServer

LIBRARY = load_library()
SHIPPED = Known(library=LIBRARY, insights=())


@contextmanager
def opened(folder: Path) -> Iterator[Rows]:
    folder.mkdir(exist_ok=True)
    rows = Rows(folder, lambda record: None)
    try:
        yield rows
    finally:
        rows.close()


def vectors_in(rows: Rows) -> list[Vector]:
    return Reader(rows.folder).rows(Vector)


def base_on(rows: Rows, *, source: Source | None = None, **settings: object) -> CognitionBase:
    return CognitionBase(CognitionSettings(**settings), rows, deterministic=False, source=source)  # type: ignore[arg-type]


async def test_the_library_is_in_the_store_once_and_vectors_come_back_from_it(tmp_path: Path) -> None:
    with opened(tmp_path / "a") as rows:
        await base_on(rows).start(SHIPPED, searched=True)
        assert (rows.population.papers, rows.population.entries) == (LIBRARY.papers, LIBRARY.entries)
        made = vectors_in(rows)
        assert {vector.item_id for vector in made} == set(LIBRARY.entries)
    with opened(tmp_path / "a") as rows:  # a second row under a key would be refused
        base = base_on(rows)
        await base.start(SHIPPED, searched=True)
        assert len(vectors_in(rows)) == len(made)
        told = await base.tell(brief(), arm_named("llm"), [OLD], OLD)
        assert told.knowledge


async def test_without_an_arm_that_reads_no_vector_is_made(tmp_path: Path) -> None:
    with opened(tmp_path / "a") as rows:
        await base_on(rows).start(SHIPPED, searched=False)
        assert rows.population.entries
        assert vectors_in(rows) == []


async def test_a_brief_holds_what_its_arm_may_know_and_the_rows_say_so(tmp_path: Path) -> None:
    known = tuple(grown(-0.05, -0.04))
    with opened(tmp_path / "a") as rows:
        base = base_on(rows, num_entries=3, num_insights=2)
        await base.start(SHIPPED, searched=True)
        rows.record(*known)
        for number, (arm, papers, insights) in enumerate(
            (("llm", 3, 1), ("llm_no_cognition", 0, 1), ("llm_no_analysis", 3, 0))
        ):
            asked = replace(brief(), number=number, arm=arm, insights=known)
            told = await base.tell(asked, arm_named(arm), [OLD], OLD)
            assert (len(told.knowledge), len(told.insights)) == (papers, insights)
            assert told.weakness
            base.shown(number, asked.attempt, [f"[{told.knowledge[0].key}]"] if told.knowledge else [])
            base.shown(number, asked.attempt, [])  # said once
        stored = Reader(rows.folder).rows(Retrieval)
        assert [row.in_prompt for row in stored if row.arm == "llm" and row.item == "entry"] == [True, False, False]
        assert {row.arm for row in stored if row.item == "insight"} == {"llm", "llm_no_cognition"}
        assert all(row.paper_id == row.item_id.split("/")[0] for row in stored if row.item == "entry")


def filled(folder: Path, *insights: Insight) -> Path:
    with Store.open(folder) as store:
        store.append(*insights)
    return folder


async def test_insights_are_carried_over_once_with_all_that_was_pooled(tmp_path: Path) -> None:
    old = grown(-0.05, -0.04)
    settings = CognitionSettings(from_runs=(str(filled(tmp_path / "old", *old)),), shipped=False)
    known = known_at_first(settings, tmp_path / "new")
    assert known is not None
    assert [(i.from_run, i.effect) for i in known.insights] == [("old", -0.05), ("old", -0.04)]
    assert not {i.insight_id for i in known.insights} & {i.insight_id for i in old}, "here it may be measured again"
    with opened(tmp_path / "new") as rows:
        await CognitionBase(settings, rows, deterministic=False).start(known, searched=True)
        rows.record(old[0])
    with Store.open(tmp_path / "old") as store:
        store.append(with_pool(insight(9, 0.1), old))
    shutil.rmtree(tmp_path / "old")  # what was known at the first start counts
    assert known_at_first(settings, tmp_path / "new") is None
    with opened(tmp_path / "new") as rows:
        await CognitionBase(settings, rows, deterministic=False).start(None, searched=True)
        assert [i.from_run for i in rows.population.insights] == ["old", "old", ""]


def test_what_passes_through_a_run_keeps_where_it_was_measured_and_comes_once(tmp_path: Path) -> None:
    first = filled(tmp_path / "old", *grown(-0.05))
    (carried,) = carried_from(CognitionSettings(from_runs=(str(first),)))
    second = filled(tmp_path / "between", carried, insight(3, -0.01))
    both = carried_from(CognitionSettings(from_runs=(str(first), str(second), str(first))))
    assert sorted(i.from_run for i in both) == ["between", "old"]
    twin = filled(tmp_path / "x" / "old", insight(4, -0.01))
    with pytest.raises(UsageError, match="have one name: rename one of the"):
        carried_from(CognitionSettings(from_runs=(str(first), str(twin))))


def test_runs_and_folders_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cognition\.from_runs: no run folder .*nowhere"):
        carried_from(CognitionSettings(from_runs=(str(tmp_path / "nowhere"),)))
    with pytest.raises(UsageError, match=r"cognition\.papers: no folder .*nowhere"):
        library_of(CognitionSettings(papers=(str(tmp_path / "nowhere"),)))
    with pytest.raises(ValueError, match=r"cognition\.num_entries is -1"):
        CognitionSettings(num_entries=-1)
    write(tmp_path, "ours", identifier="", title="Our own notes")
    joined = library_of(CognitionSettings(papers=(str(tmp_path),), shipped=False))
    assert set(joined.papers) == {"ours"}


async def test_elements_are_traced_to_the_entry_that_says_the_same_and_else_are_the_authors_own(tmp_path: Path) -> None:
    candidate = replace(
        OLD.candidate,
        changes=(
            "output gate: none -> head-wise sigmoid after attention",
            "colour of the fence: green -> blue",
        ),
        declared=(Declared(element="a third thing", source="own"),),
    )
    assert isinstance(candidate, Candidate)
    with opened(tmp_path / "a") as rows:
        base = base_on(rows)
        await base.start(SHIPPED, searched=True)
        await base.trace(candidate)
        await base.trace(candidate)
        first, second, third = Reader(rows.folder).rows(Origin)
    assert (first.matched, first.matched_id.split("/")[0]) == ("paper", "gated_attention")
    assert (second.matched, second.matched_id) == ("own", "")
    assert (third.element, third.declared) == ("a third thing", "own")


async def test_a_model_embeds_and_when_it_cannot_the_local_embedder_stands_in(tmp_path: Path) -> None:
    with ModelServer(answer) as server, opened(tmp_path / "a") as rows:
        settings = EmbeddingSettings(model="openai/embedder", api_base=server.url, price=Price(input=0.0, output=0.0))
        everything = LlmSettings(name="test", embedding=settings, retries=Retries(num=1, base_s=0.01))
        purse = Purse(Limits(), everything, {"openai/embedder": Price(input=0.0, output=0.0)}, write_ahead=False)
        line = LiteLlmLine()
        source = LlmEmbedder(settings, Price(input=0.0, output=0.0), purse, line, retries=everything.retries)
        base = base_on(rows, source=source)
        await base.start(SHIPPED, searched=True)
        (name,) = {vector.embedder for vector in vectors_in(rows)}
        assert name.startswith("openai/embedder/")
        assert (await base.tell(brief(), arm_named("llm"), [OLD], OLD)).knowledge
        rows.record(insight(3, -0.05))
        server.faults = {"server_error": 1.0}
        asked = replace(brief(), number=9, insights=tuple(rows.population.insights))
        told = await base.tell(asked, arm_named("llm"), [replace(OLD, candidate=replace(OLD.candidate, name="x"))], OLD)
        assert told.knowledge
        assert told.insights
        warnings = [e.detail for e in rows.population.events if e.kind == "warning"]
        assert len(warnings) == 1
        assert "the local embedder stands in" in warnings[0]
        assert {vector.embedder for vector in vectors_in(rows)} - {name}
        await line.hang_up()


async def test_what_is_learned_while_vectors_are_on_their_way_is_found_as_well(tmp_path: Path) -> None:
    class Slow:
        """Vectors that take a moment; meanwhile another candidate is explained."""

        def __init__(self, rows: Rows) -> None:
            self._rows, self._late = rows, [insight(7, -0.05, change="taps: 3 -> 5")]

        async def name(self) -> str:
            return "slow/256"

        async def embed(self, texts: Sequence[str]) -> Vectors:
            await asyncio.sleep(0.01)
            if self._rows.population.insights and self._late:
                self._rows.record(self._late.pop())
            return HashedNgrams().embed(texts)

    with opened(tmp_path / "a") as rows:
        base = base_on(rows, source=Slow(rows))
        await base.start(SHIPPED, searched=True)
        rows.record(insight(3, -0.05))
        briefs = [replace(brief(), number=number, insights=tuple(rows.population.insights)) for number in (8, 9)]
        told = await asyncio.gather(*(base.tell(asked, arm_named("llm"), [OLD], OLD) for asked in briefs))
        assert {known.number for one in told for known in one.insights} == {3, 7}


async def test_without_a_library_insights_are_still_found(tmp_path: Path) -> None:
    with opened(tmp_path / "a") as rows:
        base = CognitionBase(CognitionSettings(shipped=False), rows, deterministic=True)
        await base.start(Known(library=load_library(shipped=False), insights=()), searched=True)
        rows.record(insight(3, -0.05))
        asked = replace(brief(), insights=tuple(rows.population.insights))
        told = await base.tell(asked, arm_named("llm"), [OLD], OLD)
        assert told.knowledge == ()
        assert [known.number for known in told.insights] == [3]


async def test_several_that_fail_together_are_one_warning(tmp_path: Path) -> None:
    class Failing:
        """Vectors for the library, none for questions."""

        async def name(self) -> str:
            return "failing/256"

        async def embed(self, texts: Sequence[str]) -> Vectors:
            await asyncio.sleep(0.01)
            if len(texts) < 100:
                raise NoVectors("nobody answers")
            return HashedNgrams().embed(texts)

    with opened(tmp_path / "a") as rows:
        base = base_on(rows, source=Failing())
        await base.start(SHIPPED, searched=True)
        briefs = [replace(brief(), number=number, insights=()) for number in (7, 8, 9)]
        told = await asyncio.gather(*(base.tell(asked, arm_named("llm"), [OLD], OLD) for asked in briefs))
        assert all(one.knowledge for one in told)
        assert [event.subject for event in rows.population.events if event.kind == "warning"] == ["embedding"]
