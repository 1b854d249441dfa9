"""Which model is asked: Thompson sampling over what each one's work was worth, less what it costs.

The state is the reward rows and nothing else: a bandit that is given the same rows and the same generator chooses the
same. Failures are rewards of 0 with their cost, so that a cheap model that fails often is not cheap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np

from agents.llm.settings import BanditSettings
from cognition.records import Reward


def order_by_weight(weights: Mapping[str, float], rng: np.random.Generator) -> tuple[str, ...]:
    """Models in the order in which they are asked, the first by its share, the others as fallbacks."""
    names = sorted(name for name, weight in weights.items() if weight > 0)
    if len(names) < 2:
        return tuple(names)
    shares = np.array([weights[name] for name in names])
    order = rng.choice(len(names), size=len(names), replace=False, p=shares / shares.sum())
    return tuple(names[int(place)] for place in order)


def order_by_reward(
    weights: Mapping[str, float],
    rewards: Sequence[Reward],
    prior_usd: Mapping[str, float],
    rng: np.random.Generator,
    settings: BanditSettings,
) -> tuple[str, ...]:
    """Models in the order of a sample of their worth.

    Args:
        weights: models by name; their sizes do not matter, zero leaves a model out.
        rewards: rows of one role; rows of other models are passed over.
        prior_usd: what an answer of each model costs as far as its price says; counts as one observation.
        rng: the same generator and rows give the same order.
        settings: how much the cost counts, and how often it is chosen blindly.
    """
    names = sorted(name for name, weight in weights.items() if weight > 0)
    if len(names) < 2:
        return tuple(names)
    if rng.random() < settings.explore:
        return order_by_weight(dict.fromkeys(names, 1.0), rng)
    own = {name: [reward for reward in rewards if reward.model == name] for name in names}
    cost = {name: fmean([prior_usd.get(name, 0.0), *(reward.usd for reward in own[name])]) for name in names}
    dearest = max(cost.values())
    worth: dict[str, float] = {}
    for name in names:
        gained = sum(reward.reward for reward in own[name])
        sample = float(rng.beta(1.0 + gained, 1.0 + len(own[name]) - gained))
        worth[name] = sample - (settings.cost_weight * cost[name] / dearest if dearest > 0 else 0.0)
    return tuple(sorted(names, key=lambda name: (-worth[name], name)))
