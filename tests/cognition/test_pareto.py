from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cognition.pareto import front


def test_whoever_is_beaten_on_both_figures_is_off_the_front() -> None:
    points = {"cheap": (3.0, 1.0), "middle": (2.0, 2.0), "worse": (2.5, 2.5), "best": (1.0, 9.0)}
    assert front(points) == ["cheap", "middle", "best"]


def test_the_same_loss_at_a_higher_cost_is_beaten_and_equals_stand_together() -> None:
    assert front({"a": (1.0, 1.0), "b": (1.0, 2.0), "c": (1.0, 1.0)}) == ["a", "c"]
    assert front({"a": (2.0, 1.0), "b": (1.0, 1.0)}) == ["b"]


def test_who_lacks_a_figure_is_on_no_front_and_keeps_nobody_off() -> None:
    assert front({"a": (None, 0.0), "b": (5.0, None), "c": (9.0, 9.0)}) == ["c"]
    assert front({}) == []


_FIGURE = st.one_of(st.none(), st.integers(0, 5).map(float))


@given(st.dictionaries(st.integers(), st.tuples(_FIGURE, _FIGURE), max_size=12))
def test_the_front_is_everybody_whom_nobody_dominates(points: dict[int, tuple[float | None, float | None]]) -> None:
    known = {name: (p[0], p[1]) for name, p in points.items() if p[0] is not None and p[1] is not None}

    def beaten(name: int) -> bool:
        loss, cost = known[name]
        return any(other[0] <= loss and other[1] <= cost and other != (loss, cost) for other in known.values())

    assert set(front(points)) == {name for name in known if not beaten(name)}
