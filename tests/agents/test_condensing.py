from __future__ import annotations

from agents.condensing import condense
from cognition.insights import with_pool
from tests.cognition.test_insights import grown, insight


def test_nothing_is_said_before_a_change_has_a_result() -> None:
    assert condense(1, 8, []) is None
    assert condense(1, 8, [insight(0, -0.1, change=None, against="baseline")]) is None


def test_what_holds_and_what_does_not_pay_is_listed_with_its_evidence() -> None:
    helps = grown(-0.06, -0.05)
    found = condense(2, 16, helps)
    assert found is not None
    assert (found.round, found.number, found.model) == (2, 16, "")
    (line,) = found.works
    assert "gate: none -> sigmoid: -0.05" in line
    assert "2 results" in line
    assert found.cites == (helps[-1].insight_id,)
    assert found.worn_out == ()


def test_harm_and_contradiction_are_told() -> None:
    harms = condense(1, 8, grown(0.06, 0.05))
    assert harms is not None
    assert len(harms.worn_out) == 1
    assert "No change is sure to help yet." in harms.text
    disputed = condense(1, 8, grown(-0.05, -0.05, -0.05, 0.05))
    assert disputed is not None
    assert "contradict each other on 1" in disputed.text
    assert disputed.works == ()


def test_what_many_results_show_is_not_worn_out_by_a_noisy_one() -> None:
    helps = grown(-0.05, -0.05, -0.05, -0.05)
    found = condense(3, 24, [*helps, with_pool(insight(9, -0.03, error=0.03), helps)])
    assert found is not None
    assert len(found.works) == 1
    assert found.worn_out == ()


def test_little_evidence_of_no_difference_is_not_worn_out() -> None:
    found = condense(3, 24, grown(0.0, 0.01, error=0.2))
    assert found is not None
    assert found.worn_out == ()
