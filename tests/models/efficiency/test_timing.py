from __future__ import annotations

import pytest

from models.efficiency.settings import EfficiencySettings
from models.efficiency.timing import paired_ratio, timing
from models.scale import load_scale


def test_the_median_leaves_one_slow_repeat_out_and_the_spread_is_a_share_of_it() -> None:
    found = timing([1.0, 1.1, 0.9, 1.0, 9.0])
    assert found.median_s == 1.0
    assert found.spread == pytest.approx(0.1)
    assert timing([2.0, 2.2, 1.8, 2.0, 18.0]).spread == pytest.approx(found.spread)


def test_a_ratio_is_taken_pair_by_pair_so_that_a_machine_that_slows_down_changes_nothing() -> None:
    theirs = [1.0, 2.0, 4.0]
    assert paired_ratio([0.5 * each for each in theirs], theirs) == 0.5
    with pytest.raises(ValueError, match="argument 2 is longer"):
        paired_ratio([1.0], theirs)


def test_lengths_are_ascending_and_come_from_the_stage_where_none_are_given() -> None:
    stage = load_scale("tiny").stages[-1]
    assert EfficiencySettings().lengths_at(stage) == (32, 128, 512)
    assert EfficiencySettings(lengths=(64, 16, 64)).lengths_at(stage) == (16, 64)


def test_null_measures_on_gpus_alone() -> None:
    assert [EfficiencySettings().wanted(device) for device in ("cpu", "cuda")] == [False, True]
    assert EfficiencySettings(measure=True).wanted("cpu")
    assert not EfficiencySettings(measure=False).wanted("cuda")


@pytest.mark.parametrize(
    "values", [{"lengths": ()}, {"lengths": (1,)}, {"repeats": 1}, {"block_s": 0.0}, {"deadline_s": float("inf")}]
)
def test_impossible_settings_are_refused_with_their_name_and_value(values: dict[str, object]) -> None:
    (name,) = values
    with pytest.raises(ValueError, match=rf"efficiency\.{name} is "):
        EfficiencySettings(**values)  # type: ignore[arg-type]
