"""What is said of a stage that does not rank as the next one does."""

from __future__ import annotations

import pytest

from cognition.records import RankCorrelation
from orchestrator.prediction import correlation_line, latest


def found(num_pairs: int, rho: float, low: float | None = None, high: float | None = None) -> RankCorrelation:
    return RankCorrelation(
        scale="tiny", lower="explore", upper="verify", num_pairs=num_pairs, rho=rho, low=low, high=high
    )


@pytest.mark.parametrize(
    ("correlation", "line"),
    [
        (found(3, 1.0), "explore to verify: rho +1.00 (no interval yet) over 3 candidates"),
        (found(4, -0.4, -0.99, 0.4), "explore to verify: rho -0.40 [-0.99, +0.40] over 4 candidates"),
        (
            found(5, -0.4, -0.96, 0.49),
            "explore to verify: rho -0.40 [-0.96, +0.49] over 5 candidates: explore does not predict verify",
        ),
        (
            found(9, 0.4, -0.38, 0.85),
            "explore to verify: rho +0.40 [-0.38, +0.85] over 9 candidates: explore is not shown to predict verify yet",
        ),
        (
            found(80, 0.2, 0.01, 0.41),
            "explore to verify: rho +0.20 [+0.01, +0.41] over 80 candidates: explore does not predict verify",
        ),
        (found(12, 0.8, 0.4, 0.95), "explore to verify: rho +0.80 [+0.40, +0.95] over 12 candidates"),
    ],
)
def test_a_stage_is_called_out_from_five_pairs_on_by_its_interval(correlation: RankCorrelation, line: str) -> None:
    assert correlation_line(correlation) == line


def test_the_latest_is_the_one_over_the_most_candidates() -> None:
    other = RankCorrelation(scale="tiny", lower="verify", upper="top", num_pairs=3, rho=0.5)
    assert latest([found(4, 0.1), found(6, 0.3), other, found(5, 0.2)]) == (found(6, 0.3), other)
