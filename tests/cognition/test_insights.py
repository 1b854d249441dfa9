from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path

import pytest

from cognition.embedding import HashedNgrams
from cognition.insights import confidence_of, direction_of, pool, standings, subject_of, with_pool
from cognition.memory import Memory
from cognition.reader import Reader
from cognition.records import Insight
from cognition.store import Store

GATE = "gate: none -> sigmoid"


def insight(
    number: int, effect: float, *, error: float = 0.01, change: str | None = GATE, against: str = "parent"
) -> Insight:
    return Insight(
        insight_id=f"i{number}{against}{change}",
        candidate_id=f"c{number}",
        number=number,
        claim=f"'{change}' moves the loss by {effect}",
        slot="token_mixer",
        stage="explore",
        scale="cpu",
        against=against,
        against_id="parent",
        change=change,
        effect=effect,
        low=effect - 1.96 * error,
        high=effect + 1.96 * error,
        evidence=(f"c{number}-explore-s0",),
    )


def grown(*effects: float, error: float = 0.01) -> list[Insight]:
    """Insights on one subject, one after the other."""
    found: list[Insight] = []
    for number, effect in enumerate(effects):
        found.append(with_pool(insight(number, effect, error=error), found))
    return found


def test_replication_raises_confidence_and_contradiction_lowers_it() -> None:
    once, twice = grown(-0.04, -0.045, error=0.02)
    assert once.confidence is not None
    assert twice.confidence is not None
    assert 0.5 < once.confidence < twice.confidence
    assert (once.num_studies, twice.num_studies, twice.num_contradicting) == (1, 2, 0)
    first, against = grown(-0.05, 0.05)
    assert first.confidence is not None
    assert first.confidence > 0.99
    assert standings([first, against])[first.insight_id].confidence < 0.7
    assert against.num_studies == 2


def test_contradictions_are_counted_against_the_pooled_effect() -> None:
    *_, last = grown(-0.05, -0.05, -0.05, 0.05)
    assert last.num_contradicting == 1
    assert last.pooled_effect is not None
    assert last.pooled_effect < 0
    assert direction_of(last) == 0, "all results together speak, not the last one alone"
    assert last.confidence is not None
    assert last.confidence < 0.5


def test_a_noisy_replication_does_not_undo_what_many_have_shown() -> None:
    found = grown(-0.05, -0.05, -0.05, -0.05)
    noisy = with_pool(insight(9, -0.03, error=0.03), found)
    assert direction_of(insight(9, -0.03, error=0.03)) == 0
    assert direction_of(noisy) == -1
    assert noisy.confidence is not None
    assert noisy.confidence > 0.99


def test_one_change_in_two_spellings_and_one_source_in_two_runs_are_one_study() -> None:
    twice = [insight(0, -0.06), insight(0, -0.06, change="Gate:  none -> sigmoid")]
    later = with_pool(insight(1, -0.03), [with_pool(i, [], num_changes=2) for i in twice])
    assert later.num_studies == 2
    again = with_pool(insight(0, -0.06), [replace(with_pool(insight(0, -0.06), []), insight_id="x", from_run="old")])
    assert again.num_studies == 1


def test_disagreement_widens_the_pooled_interval() -> None:
    agree, differ = pool([(-0.03, 0.01), (-0.03, 0.01)]), pool([(-0.08, 0.01), (0.02, 0.01)])
    assert agree.effect == pytest.approx(differ.effect)
    assert differ.high - differ.low > 3 * (agree.high - agree.low)
    assert agree.high - agree.low < 2 * 1.96 * 0.01


def test_the_pooled_interval_covers_the_true_effect() -> None:
    """Simulated: between-change spread 0.03, five results each; a naive fixed-effect interval covers far less."""
    rng = random.Random(0)
    covered = 0
    for _ in range(400):
        truth = rng.gauss(0, 0.05)
        found = pool([(rng.gauss(rng.gauss(truth, 0.03), 0.01), 0.01) for _ in range(8)])
        covered += found.low <= truth <= found.high
    assert 0.85 < covered / 400 < 0.99


def test_a_lucky_single_result_is_doubted_more_than_its_own_interval_says() -> None:
    effect, error = -0.2, 0.1
    prior = confidence_of(effect, effect - 1.96 * error, effect + 1.96 * error, -1)
    assert 0.5 < prior < 0.9  # 0.977 without a prior
    assert confidence_of(-0.2, -0.21, -0.19, -1) > 0.999
    assert confidence_of(0.0, -0.01, 0.01, 0) > 0.99
    assert confidence_of(0.0, -1.0, 1.0, 0) < 0.35
    assert confidence_of(-0.1, -0.1, -0.1, -1) == 0.5


def test_changes_made_together_share_their_effect() -> None:
    alone = with_pool(insight(0, -0.06), [])
    shared = with_pool(insight(1, -0.06), [], num_changes=3)
    assert alone.pooled_effect == pytest.approx(-0.06)
    assert shared.pooled_effect == pytest.approx(-0.02)
    pair = [insight(0, -0.06), insight(0, -0.06, change="decay: none -> fixed")]
    pair = [with_pool(i, [], num_changes=2) for i in pair]
    later = with_pool(insight(5, -0.03), pair)
    assert later.pooled_effect == pytest.approx(-0.03)


def test_only_the_same_change_at_the_same_place_is_the_same_subject() -> None:
    base = insight(0, -0.05)
    assert subject_of(base) == subject_of(replace(base, change="Gate:  none -> sigmoid", number=4))
    for other in (
        replace(base, change="gate: none -> swish"),
        replace(base, scale="h200"),
        replace(base, stage="verify"),
        replace(base, slot="channel_mixer"),
    ):
        assert subject_of(other) != subject_of(base)
        assert with_pool(other, [with_pool(base, [])]).num_studies == 1
    assert subject_of(replace(base, change=None)) == ""
    assert subject_of(replace(base, against="baseline")) == ""


def test_words_are_no_second_measurement() -> None:
    measured = with_pool(insight(0, -0.05), [])
    worded = replace(measured, insight_id="w", source="llm", claim="The gate lets old content go.")
    later = with_pool(insight(1, -0.05), [measured, worded])
    assert later.num_studies == 2


def test_the_newest_insight_supersedes_and_words_share_its_fate() -> None:
    first, second = grown(-0.05, 0.06)
    worded = replace(first, insight_id="w", source="llm", claim="The gate helps.")
    found = standings([first, worded, second])
    assert found[first.insight_id].superseded_by == second.insight_id
    assert found["w"].superseded_by == second.insight_id
    assert found[second.insight_id].superseded_by is None
    assert found["w"].confidence < 0.6
    assert first.confidence is not None
    assert first.confidence > 0.99


def test_sql_says_the_same_as_python(tmp_path: Path) -> None:
    rows = [*grown(-0.05, -0.03, 0.02, error=0.02), with_pool(insight(9, 0.001, change=None, against="baseline"), [])]
    rows.append(replace(rows[0], insight_id="w", source="llm"))
    with Store.open(tmp_path) as store:
        store.append(*rows)
    found = Reader(tmp_path).query("SELECT insight_id, confidence, superseded_by, num_studies FROM standing")
    expected = standings(rows)
    assert len(found.rows) == len(rows)
    for insight_id, confidence, superseded_by, num_studies in found.rows:
        assert confidence == pytest.approx(expected[insight_id].confidence, abs=2e-3)
        assert superseded_by == expected[insight_id].superseded_by
        assert num_studies == expected[insight_id].num_studies
    changes = Reader(tmp_path).query("SELECT insight_id, change FROM standing")
    assert dict(changes.rows) == {row.insight_id: row.change for row in rows}


def test_effects_without_an_interval_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be pooled"):
        pool([(0.1, math.inf)])
    with pytest.raises(ValueError, match="cannot be pooled"):
        pool([])


def test_memory_holds_one_insight_a_subject_and_the_words_beside_it() -> None:
    memory = Memory(HashedNgrams())
    first, second = grown(-0.05, 0.06)
    worded = replace(first, insight_id="w", source="llm", claim="The sigmoid gate lets old content go.")
    memory.add([first, worded])
    assert {r.insight.insight_id for r in memory.search("sigmoid gate", 5)} == {first.insight_id, "w"}
    memory.add([second])
    found = {r.insight.insight_id: r.insight for r in memory.search("sigmoid gate", 5)}
    assert set(found) == {second.insight_id, "w"}
    assert found["w"].confidence == pytest.approx(standings([first, worded, second])["w"].confidence)


def test_a_latecomer_with_fewer_results_does_not_take_the_place_of_one_that_knows_more() -> None:
    memory = Memory(HashedNgrams())
    first, second, third = grown(-0.05, -0.05, -0.05)
    memory.add([first])
    memory.add([third])
    memory.add([second])
    assert {r.insight.insight_id for r in memory.search("gate moves the loss", 5)} == {third.insight_id}


def test_memory_prefers_what_is_sure() -> None:
    memory = Memory(HashedNgrams())
    sure = with_pool(insight(0, -0.05), [])
    doubtful = with_pool(insight(1, -0.05, error=0.2, change="gate: none -> swish"), [])
    memory.add([doubtful, sure])
    found = memory.search("which gate moves the loss", 2)
    assert [r.insight.insight_id for r in found] == [sure.insight_id, doubtful.insight_id]
