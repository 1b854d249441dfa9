"""What taking parts away did: findings, intervals that hold together, and what cannot be told."""

from __future__ import annotations

import numpy as np
import pytest

from cognition.records import PartFinding
from orchestrator.attribution.effects import effects, finding_of

SEEDS = range(4)
WHOLE = dict(zip(SEEDS, (2.0, 2.3, 1.9, 2.2), strict=True))


def shifted(by: float, noise: tuple[float, ...] = (0.01, -0.01, 0.005, -0.005)) -> dict[int, float]:
    return {seed: WHOLE[seed] + by + noise[seed] for seed in SEEDS}


def test_what_a_seed_does_to_both_cancels_and_each_finding_is_told() -> None:
    found = effects(WHOLE, {"a": shifted(0.5), "b": shifted(-0.5), "c": shifted(0.0), "d": shifted(0.1)}, tolerance=0.1)
    assert {name: effect.finding for name, effect in found.items()} == {
        "a": PartFinding.helps,
        "b": PartFinding.hurts,
        "c": PartFinding.not_needed,
        "d": PartFinding.helps,
    }
    assert found["a"].mean == pytest.approx(0.5)
    assert found["a"].num_seeds == 4
    assert found["a"].seeds_needed is None


def test_what_is_unclear_says_how_many_seeds_might_tell() -> None:
    wide = (0.5, -0.5, 0.3, -0.3)
    (found,) = effects(WHOLE, {"a": shifted(0.2, wide)}, tolerance=0.01).values()
    assert found.finding is PartFinding.unclear
    assert found.seeds_needed is not None
    assert found.seeds_needed > 4
    (surer,) = effects(WHOLE, {"a": shifted(0.4, wide)}, tolerance=0.01).values()
    assert surer.seeds_needed is not None
    assert surer.seeds_needed < found.seeds_needed


def test_pairs_alone_count_and_one_seed_has_no_interval() -> None:
    found = effects(WHOLE, {"a": {0: 2.5, 9: 7.0}, "b": {9: 1.0}, "c": {}}, tolerance=0.1)
    assert set(found) == {"a"}
    assert (found["a"].num_seeds, found["a"].low, found["a"].finding) == (1, None, PartFinding.unclear)
    assert found["a"].mean == pytest.approx(0.5)


def test_one_seed_has_an_interval_where_others_show_the_spread() -> None:
    found = effects(WHOLE, {"a": {0: 2.5}, "b": shifted(0.0)}, tolerance=0.1)
    assert found["a"].low is not None
    assert found["a"].finding is PartFinding.helps


@pytest.mark.parametrize(("num_parts", "num_seeds"), [(2, 2), (8, 3), (16, 3)])
def test_intervals_hold_for_all_parts_together(num_parts: int, num_seeds: int) -> None:
    """At most 5% of designs may have an interval that misses its effect; the design is as noisy as its variants."""
    rng, missed, num = np.random.default_rng(0), 0, 1000
    for _ in range(num):
        true, of_seeds = rng.normal(0, 0.1, size=num_parts), rng.normal(2, 0.2, size=num_seeds)
        whole = dict(enumerate(of_seeds + rng.normal(0, 0.05, size=num_seeds)))
        variants = {
            str(part): dict(enumerate(of_seeds + true[part] + rng.normal(0, 0.05, size=num_seeds)))
            for part in range(num_parts)
        }
        found = effects(whole, variants, tolerance=0.01)
        missed += any(not (effect.low or 0) <= true[int(part)] <= (effect.high or 0) for part, effect in found.items())
    assert missed / num <= 0.05 + 2 * (0.05 * 0.95 / num) ** 0.5


def test_a_finding_is_what_the_interval_allows() -> None:
    assert finding_of(-0.2, -0.1, 0.05) is PartFinding.hurts
    assert finding_of(-0.2, 0.04, 0.05) is PartFinding.not_needed
    assert finding_of(0.01, 0.04, 0.05) is PartFinding.not_needed  # sure to help, and by less than is tolerated
    assert finding_of(0.01, 0.2, 0.05) is PartFinding.helps
    assert finding_of(-0.2, 0.2, 0.05) is PartFinding.unclear


def test_a_tolerance_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"tolerance is 0\.0: use nats per token above 0"):
        effects(WHOLE, {}, tolerance=0.0)
