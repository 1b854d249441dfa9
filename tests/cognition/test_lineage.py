from __future__ import annotations

from dataclasses import replace

import pytest

from cognition.lineage import ancestors, diff_to_parent
from tests.cognition.factories import make_candidate


def test_ancestors_run_from_the_parent_to_the_founder() -> None:
    founder = make_candidate(0)
    child = make_candidate(1, parent=founder)
    grandchild = make_candidate(2, parent=child)
    rows = [grandchild, founder, make_candidate(3, parent=founder), child]
    assert ancestors(rows, grandchild.candidate_id) == (child, founder)
    assert ancestors(rows, founder.candidate_id) == ()


def test_only_the_first_parent_counts() -> None:
    first, second = make_candidate(0), make_candidate(1)
    child = replace(make_candidate(2), parent_ids=(first.candidate_id, second.candidate_id))
    assert ancestors([first, second, child], child.candidate_id) == (first,)


def test_the_line_ends_at_an_unknown_parent_and_at_a_circle() -> None:
    child = make_candidate(2, parent=make_candidate(1))
    assert ancestors([child], child.candidate_id) == ()
    a, b = make_candidate(3), make_candidate(4)
    a, b = replace(a, parent_ids=(b.candidate_id,)), replace(b, parent_ids=(a.candidate_id,))
    assert ancestors([a, b], a.candidate_id) == (b,)
    own = replace(a, parent_ids=(a.candidate_id,))
    assert ancestors([own], own.candidate_id) == ()


def test_an_unknown_candidate_is_refused() -> None:
    with pytest.raises(ValueError, match="'nobody' is not among the 1 given"):
        ancestors([make_candidate(0)], "nobody")


def test_the_diff_shows_what_changed_and_is_empty_for_equal_sources() -> None:
    parent = make_candidate(0)
    child = make_candidate(1, parent=parent)
    assert diff_to_parent(child, parent).splitlines() == [
        f"--- mixer-0 ({parent.candidate_id})",
        f"+++ mixer-1 ({child.candidate_id})",
        "@@ -1,3 +1,3 @@",
        " class TokenMixer:",
        "-    number = 0",
        "+    number = 1",
        "     gate = True",
    ]
    assert diff_to_parent(parent, parent) == ""
