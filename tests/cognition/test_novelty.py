from __future__ import annotations

import numpy as np
import pytest

from cognition.novelty import (
    SAME_BEHAVIOUR,
    Found,
    Neighbour,
    NoveltySettings,
    decide,
    nearest,
    same_behaviour,
    same_source,
)
from tests.cognition.factories import make_candidate


def test_the_nearest_is_found_by_relative_distance() -> None:
    others = {"far": (0.0, 10.0), "near": (3.0, 3.0), "exact length only": (3.0, 4.0, 0.0)}
    found = nearest((3.0, 4.0), others)
    assert found is not None
    assert found.candidate_id == "near"
    assert found.distance == pytest.approx(1 / 5)


def test_distance_does_not_depend_on_scale_or_order_of_the_two() -> None:
    a, b = np.array([1.0, 2.0, 3.0]), np.array([1.1, 2.0, 2.9])
    there, back, scaled = nearest(a, {"b": b}), nearest(b, {"a": a}), nearest(1e6 * a, {"b": 1e6 * b})
    assert there is not None
    assert back is not None
    assert scaled is not None
    assert there.distance == pytest.approx(back.distance)
    assert there.distance == pytest.approx(scaled.distance)
    opposite = nearest(a, {"-a": -a})
    assert opposite is not None
    assert opposite.distance == pytest.approx(2.0)


def test_the_same_function_up_to_float32_rounding_is_the_same_behaviour_and_a_changed_one_is_not() -> None:
    rng = np.random.default_rng(0)
    outputs = rng.normal(size=256)
    rounded = outputs.astype(np.float32).astype(np.float64) * (1 + 1e-6 * rng.normal(size=256))
    changed = outputs * (1 + 0.02 * rng.normal(size=256))
    assert same_behaviour(nearest(outputs, {"rounded": rounded}))
    assert not same_behaviour(nearest(outputs, {"changed": changed}))
    assert same_behaviour(nearest(outputs, {"changed": changed}), threshold=0.1)
    assert SAME_BEHAVIOUR == 1e-3


def test_incomparable_fingerprints_are_passed_over() -> None:
    others = {"short": (1.0,), "nan": (float("nan"), 0.0), "inf": (float("inf"), 0.0), "none": ()}
    assert nearest((1.0, 2.0), others) is None
    assert nearest((1.0, 2.0), {}) is None
    assert not same_behaviour(None)
    found = nearest((1.0, 2.0), {**others, "good": (5.0, 5.0)})
    assert found is not None
    assert found.candidate_id == "good"


def test_silent_mixers_are_the_same() -> None:
    found = nearest((0.0, 0.0), {"silent": (0.0, 0.0)})
    assert found is not None
    assert found.distance == 0.0


@pytest.mark.parametrize("fingerprint", [(), (1.0, float("nan")), np.zeros((2, 2))])
def test_a_fingerprint_that_is_none_is_refused(fingerprint: object) -> None:
    with pytest.raises(ValueError, match="give a non-empty finite vector"):
        nearest(fingerprint, {"a": (1.0, 2.0)})  # type: ignore[arg-type]


def test_comments_do_not_make_a_candidate_new() -> None:
    from cognition.records import candidate_id_of

    candidate = make_candidate(1)
    assert same_source(candidate, {candidate_id_of(candidate.source + "\n# the same again\n")})
    assert not same_source(candidate, {make_candidate(2).candidate_id})


def near(distance: float) -> Neighbour:
    return Neighbour(candidate_id="n", distance=distance)


@pytest.mark.parametrize(
    ("found", "measure", "doubtful"),
    [
        (Found(), "", False),
        (Found(behaviour=near(1e-4)), "behaviour", False),
        (Found(behaviour=near(1e-2)), "", False),
        (Found(behaviour=near(1e-2), structure=near(0.0)), "", False),  # a constant with an effect
        (Found(structure=near(0.0), relaid=near(0.0)), "structure", False),
        (Found(relaid=near(0.1)), "structure", True),
        (Found(relaid=near(0.2)), "", False),
        (Found(motivation=near(0.0), restated=near(0.03)), "motivation", False),
        (Found(motivation=near(0.0)), "motivation", True),  # other words: a negation, another order
        (Found(motivation=near(0.0), restated=near(0.2)), "motivation", True),
        (Found(motivation=near(0.2)), "motivation", True),
        (Found(motivation=near(0.4)), "", False),
        (Found(behaviour=near(0.0), motivation=near(0.2)), "behaviour", False),
        (Found(relaid=near(0.1), restated=near(0.03)), "motivation", False),
    ],
)
def test_the_measures_decide_in_order_of_their_weight(found: Found, measure: str, doubtful: bool) -> None:
    decision = decide(found, NoveltySettings())
    assert (decision.measure, decision.doubtful) == (measure, doubtful)
    assert decision.duplicate is bool(measure and not doubtful)
    assert (decision.neighbour is None) is (not measure)


def test_a_threshold_of_nothing_switches_a_measure_off() -> None:
    off = NoveltySettings(
        same_behaviour=0.0, same_structure=0.0, doubtful_structure=0.0, same_motivation=1.0, doubtful_motivation=1.0
    )
    found = Found(behaviour=near(0.0), relaid=near(0.0), motivation=near(0.0), restated=near(0.0))
    assert decide(found, off).measure == ""


def test_how_near_is_said_in_the_measures_own_terms() -> None:
    said = [
        decide(found, NoveltySettings()).nearness
        for found in (Found(behaviour=near(2e-6)), Found(relaid=near(0.0)), Found(motivation=near(0.03)))
    ]
    assert said == ["relative distance 2.0e-06", "structural distance 0.00", "similarity 0.97"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"same_behaviour": -0.1}, "novelty.same_behaviour is -0.1: use a number from 0 to 1"),
        ({"same_motivation": float("nan")}, "novelty.same_motivation is nan"),
        ({"doubtful_motivation": 0.97}, "above same_motivation"),
        ({"same_structure": 0.5}, "below same_structure"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        NoveltySettings(**changes)  # type: ignore[arg-type]
