"""The figures of the retrieval benchmark, printed: what analyses ask for is among the first five answers."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.retrieval import measure, queries, table
from cognition.library import load_library

GOAL = 0.8


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    return measure(load_library())


def test_labels_are_papers_of_the_library_and_both_halves_are_large_enough() -> None:
    papers, asked = load_library().papers, queries()
    assert not {paper for query in asked for paper in (*query.direct, *query.also)} - set(papers)
    assert len({query.query_id for query in asked}) == len(asked)
    analyses = [query for query in asked if query.style == "analysis"]
    assert all(query.direct and not set(query.direct) & set(query.also) for query in analyses)
    for split in ("tune", "test"):
        assert len([query for query in analyses if query.split == split]) >= 60


def test_hybrid_retrieval_reaches_its_goal_also_where_few_words_are_shared(
    figures: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with capsys.disabled():
        print(f"\n{table(figures)}")
    hybrid = figures["found"]["hybrid"]
    assert {part: hybrid[part]["direct"] >= GOAL for part in ("all", "test", "low")} == dict.fromkeys(
        ("all", "test", "low"), True
    )
    assert figures["overlap"]["low"] < figures["overlap"]["all"] - 0.05


def test_together_they_are_no_worse_than_either_alone(figures: dict[str, Any]) -> None:
    found = figures["found"]
    for alone in ("BM25 alone", "embedding alone"):
        assert found["hybrid"]["all"]["direct"] > found[alone]["all"]["direct"]
        assert found["hybrid"]["low"]["direct"] > found[alone]["low"]["direct"]
