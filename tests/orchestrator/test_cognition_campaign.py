"""Campaigns that know the literature and what was learned before: what reached which question, and what came of it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from cognition.reader import Reader
from cognition.records import Candidate, Entry, Insight, LlmCall, Origin, Retrieval, Verdict, trial_id_of
from orchestrator.result import Result
from tests.model_server.brain import answer
from tests.model_server.server import ModelServer
from tests.orchestrator.test_language_campaign import at, run

_KEY = re.compile(r"\[([a-z0-9_]+/[a-z0-9_]+)\]")
_ARMS = ("arms=llm", "+arms.weights.llm_no_cognition=1", "+arms.weights.llm_no_analysis=1")


@pytest.fixture(scope="module")
def informed(ray_here: None, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """Three arms of a model that cites what it is shown."""
    folder = tmp_path_factory.mktemp("runs") / "informed"
    with ModelServer(answer) as server:
        return run(
            folder,
            *at(
                server,
                *("deterministic=true", "budget.candidates=6", "seed=34", *_ARMS),
                *("fitness.opinion_share=0", "stages.verify.best=0", "llm.roles.summary.models={}"),
            ),
        )


def questions(result: Result) -> dict[tuple[int, int], str]:
    """Text of every question for a proposal."""
    calls = [call for call in Reader(result.folder).rows(LlmCall) if call.purpose == "propose"]
    return {
        (call.number, call.attempt): "\n".join(part["content"] for part in json.loads(call.messages)) for call in calls
    }


def test_questions_hold_entries_that_treat_the_parents_measured_weakness(informed: Result) -> None:
    reader = Reader(informed.folder)
    arms = {call.number: call.arm for call in reader.rows(LlmCall) if call.purpose == "propose"}
    entries = {entry.entry_id: entry for entry in reader.rows(Entry)}
    asked = questions(informed)
    knowing = {place for place in asked if arms[place[0]] in ("llm", "llm_no_analysis")}
    assert knowing
    for place in knowing:
        text = asked[place]
        rows = [r for r in reader.rows(Retrieval) if (r.number, r.attempt) == place and r.item == "entry"]
        shown = set(_KEY.findall(text))
        assert {row.item_id for row in rows if row.in_prompt} == shown != set()
        assert [row.rank for row in rows] == list(range(1, len(rows) + 1))
        (query,) = {row.query for row in rows}
        assert query in text
        assert entries[rows[0].item_id].insight in text
        # At this size nothing recalls: the weakness is measured, and what is shown treats it.
        assert "multi-query associative recall is poor" in query
        told = [" ".join((e.trigger, *e.wordings)) for e in (entries[item] for item in shown)]
        assert sum(bool(re.search(r"recall|lookup|look up|key", words)) for words in told) >= len(told) - 1


def test_the_weakness_is_the_parents_own_measurement(informed: Result) -> None:
    reader = Reader(informed.folder)
    parents = {c.number: c.parent_ids[0] for c in reader.rows(Candidate) if c.parent_ids and c.attempt == 0}
    scores = dict(reader.query("SELECT trial_id, value FROM scores WHERE name = 'mqar_accuracy'").rows)
    compared = 0
    for row in reader.rows(Retrieval):
        parent = parents.get(row.number)
        score = scores.get(trial_id_of(parent, "explore", 0)) if parent else None
        if score is not None and "mqar_accuracy" in row.query:
            assert f"mqar_accuracy {score:.2f}" in row.query
            compared += 1
    assert compared


def test_arms_without_cognition_hold_none_and_those_without_analysis_no_insight(informed: Result) -> None:
    reader = Reader(informed.folder)
    rows = reader.rows(Retrieval)
    for call in reader.rows(LlmCall):
        if call.arm == "llm_no_cognition" and call.purpose in ("propose", "repair"):
            assert not _KEY.findall(call.messages)
            assert "From the literature" not in call.messages
        if call.arm == "llm_no_analysis" and call.purpose in ("propose", "repair"):
            assert "Findings of the analyst" not in call.messages
    kinds = {
        arm: {row.item for row in rows if row.arm == arm} for arm in ("llm", "llm_no_cognition", "llm_no_analysis")
    }
    assert kinds["llm"] == {"entry", "insight"}
    assert kinds["llm_no_cognition"] <= {"insight"}
    assert kinds["llm_no_analysis"] == {"entry"}


def test_elements_are_traced_to_what_their_author_names_and_papers_to_what_came_of_them(informed: Result) -> None:
    reader = Reader(informed.folder)
    origins = reader.rows(Origin)
    entries = {entry.entry_id for entry in reader.rows(Entry)}
    written = {c.candidate_id: c for c in reader.rows(Candidate) if c.model is not None}
    assert {origin.candidate_id for origin in origins} == set(written)
    named = [origin for origin in origins if origin.declared == "paper"]
    assert named
    assert all(origin.declared_id in entries for origin in named)
    assert not [o for o in named if written[o.candidate_id].arm == "llm_no_cognition"], "it was shown no paper"
    influence = reader.query("SELECT num_questions, num_scored, best_fitness, num_declared FROM influence").rows
    assert sum(row[3] for row in influence) == len({(o.candidate_id, o.declared_id.split("/")[0]) for o in named})
    best = max(v.fitness for v in reader.rows(Verdict) if v.fitness is not None)
    assert all(row[2] is None or 0 < row[2] <= best for row in influence)
    assert any(row[0] and row[1] for row in influence)


def test_a_second_campaign_uses_what_the_first_learned(ray_here: None, informed: Result, tmp_path: Path) -> None:
    folder = tmp_path / "second"
    with ModelServer(answer) as server:
        second = run(
            folder,
            *at(
                server,
                *("budget.candidates=1", "arms=llm", "fitness.opinion_share=0", "stages.verify.best=0"),
                f"cognition.from_runs=[{informed.folder}]",
            ),
        )
    assert second.stopped_by is None
    old = Reader(informed.folder).rows(Insight)
    reader = Reader(folder)
    carried = [insight for insight in reader.rows(Insight) if insight.from_run == "informed"]
    assert [(i.claim, i.effect) for i in carried] == [(i.claim, i.effect) for i in old] != []
    used = reader.query(
        "SELECT insight_id FROM retrievals JOIN insights ON insight_id = item_id "
        "WHERE in_prompt AND from_run = 'informed' AND retrievals.number = 1"
    ).rows
    assert used
    (question,) = questions(second).values()
    assert all(f"[{insight_id}]" in question for (insight_id,) in used)
    assert "from campaign informed, scale tiny" in question
