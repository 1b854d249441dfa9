from __future__ import annotations

import math

import numpy as np
import pytest

from agents.grammar.learning import LearningSettings, mutation_weights, shrunken_effect, target_of, uniform_weights
from agents.grammar.mutate import mutate
from agents.grammar.token_mixer.genome import DOMAINS
from agents.grammar.token_mixer.known import BASELINE_GENOMES
from agents.grammar.token_mixer.space import TOKEN_MIXERS
from cognition.records import Insight


def insight(
    change: str | None, effect: float, *, stderr: float = 0.02, against: str = "parent", key: int = 0
) -> Insight:
    return Insight(
        insight_id=f"{change}{key}{against}",
        candidate_id=f"c{key}",
        number=key,
        claim="",
        slot="token_mixer",
        stage="explore",
        against=against,
        against_id="p",
        change=change,
        effect=effect,
        low=effect - 1.96 * stderr,
        high=effect + 1.96 * stderr,
    )


def test_weights_are_uniform_without_insights_and_when_frozen() -> None:
    helpful = [insight("output_gate: none -> swish", -0.5)]
    assert mutation_weights(TOKEN_MIXERS, [], LearningSettings()) == uniform_weights(TOKEN_MIXERS)
    assert mutation_weights(TOKEN_MIXERS, helpful, LearningSettings(frozen=True)) == uniform_weights(TOKEN_MIXERS)
    assert math.isclose(sum(uniform_weights(TOKEN_MIXERS).values()), 1.0)


def test_helpful_changes_gain_harmful_ones_lose_and_none_is_ruled_out() -> None:
    settings = LearningSettings(floor=0.2)
    insights = [insight("output_gate: none -> swish", -0.2), insight("decay: scalar -> none", 5.0, key=1)]
    weights, base = mutation_weights(TOKEN_MIXERS, insights, settings), uniform_weights(TOKEN_MIXERS)
    assert math.isclose(sum(weights.values()), 1.0)
    assert weights["output_gate", "swish"] > 2 * base["output_gate", "swish"]
    assert weights["decay", "none"] < base["decay", "none"]
    assert all(weights[target] >= 0.2 * base[target] - 1e-15 for target in base)


def test_one_noisy_result_moves_less_than_many_agreeing_ones() -> None:
    one = shrunken_effect([(-0.1, 0.1)], prior_sd=0.05)
    many = shrunken_effect([(-0.1, 0.1)] * 20, prior_sd=0.05)
    assert -0.1 < many < one < 0.0
    assert one == pytest.approx(-0.1 * 0.05**2 / (0.05**2 + 0.1**2))
    assert shrunken_effect([], prior_sd=0.05) == 0.0


def test_changes_made_together_share_their_effect() -> None:
    alone = mutation_weights(TOKEN_MIXERS, [insight("direct: false -> true", -0.1)], LearningSettings())
    both = mutation_weights(
        TOKEN_MIXERS,
        [insight("direct: false -> true", -0.1), insight("rotary: false -> true", -0.1)],
        LearningSettings(),
    )
    base = uniform_weights(TOKEN_MIXERS)["direct", "true"]
    assert base < both["direct", "true"] < alone["direct", "true"]


def test_only_readable_changes_against_a_parent_count() -> None:
    useless = [
        insight(None, -1.0),
        insight("output_gate: none -> swish", -1.0, against="baseline", key=1),
        insight("colour: red -> green", -1.0, key=2),
        insight("output_gate: none -> loud", -1.0, key=3),
        insight("output_gate: none -> swish", -1.0, stderr=math.inf, key=4),
    ]
    assert mutation_weights(TOKEN_MIXERS, useless, LearningSettings()) == uniform_weights(TOKEN_MIXERS)
    assert target_of(TOKEN_MIXERS, "long_taps: 0 -> 31") == ("long_taps", "31")
    assert target_of(TOKEN_MIXERS, "a new gate") is None


def test_learned_weights_steer_mutation() -> None:
    insights = [insight("output_gate: none -> swish", -1.0, key=key) for key in range(5)]
    weights = mutation_weights(TOKEN_MIXERS, insights, LearningSettings(floor=0.1))
    rng = np.random.default_rng(0)
    genome = BASELINE_GENOMES["delta_net"]
    hits = sum(mutate(TOKEN_MIXERS, genome, rng, weights=weights).output_gate.value == "swish" for _ in range(30))
    assert hits >= 20


@pytest.mark.parametrize("fields", [{"floor": 0.0}, {"prior_sd": 0.0}, {"temperature": math.nan}])
def test_impossible_settings_are_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"learning.{next(iter(fields))} is"):
        LearningSettings(**fields)  # type: ignore[arg-type]


def test_every_value_of_every_field_has_a_weight() -> None:
    assert len(uniform_weights(TOKEN_MIXERS)) == sum(len(domain) for domain in DOMAINS.values())
