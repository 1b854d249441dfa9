from __future__ import annotations

from collections import Counter

import numpy as np

from agents.bandit import order_by_reward, order_by_weight
from agents.llm.settings import BanditSettings
from cognition.records import Reward

MODELS = {"good": 1.0, "poor": 1.0, "dear": 1.0}
NO_COST = BanditSettings(cost_weight=0.0, explore=0.0)


def rewards(model: str, values: list[float], usd: float = 0.01) -> list[Reward]:
    return [
        Reward(role="researcher", number=number, model=model, reward=value, usd=usd)
        for number, value in enumerate(values)
    ]


def firsts(known: list[Reward], settings: BanditSettings = NO_COST, num: int = 300) -> Counter[str]:
    drawn = (order_by_reward(MODELS, known, {}, np.random.default_rng(seed), settings) for seed in range(num))
    return Counter(order[0] for order in drawn)


def test_what_was_worth_more_is_asked_more_often_and_nobody_is_forgotten() -> None:
    counts = firsts([*rewards("good", [0.9] * 12), *rewards("poor", [0.1] * 12), *rewards("dear", [0.5] * 12)])
    assert counts["good"] > 250
    explored = firsts([*rewards("good", [0.9] * 40), *rewards("poor", [0.0] * 40)], BanditSettings(explore=0.3))
    assert explored["poor"] > 15


def test_before_anything_is_known_all_are_alike() -> None:
    counts = firsts([])
    assert min(counts.values()) > 60


def test_of_two_that_are_worth_the_same_the_cheaper_is_asked() -> None:
    known = [*rewards("good", [0.6] * 20, 0.01), *rewards("dear", [0.6] * 20, 1.0), *rewards("poor", [0.0] * 20, 0.01)]
    counts = firsts(known, BanditSettings(cost_weight=0.5, explore=0.0))
    assert counts["good"] > 280


def test_failures_count_with_their_cost() -> None:
    known = [*rewards("good", [1.0] * 3), *rewards("poor", [1.0] * 3 + [0.0] * 20)]
    assert firsts(known)["good"] > 2 * firsts(known)["poor"]


def test_the_same_rows_and_seed_choose_the_same() -> None:
    known = rewards("good", [0.3, 0.8])
    orders = {order_by_reward(MODELS, known, {}, np.random.default_rng(5), NO_COST) for _ in range(5)}
    assert len(orders) == 1


def test_fixed_weights_are_shares_and_zero_leaves_out() -> None:
    drawn = Counter(
        order_by_weight({"a": 3.0, "b": 1.0, "c": 0.0}, np.random.default_rng(seed))[0] for seed in range(400)
    )
    assert set(drawn) == {"a", "b"}
    assert 250 < drawn["a"] < 350
