"""What insights say about mutations: a weight for every (field, new value).

Effects of single changes are shrunk towards zero (normal-normal), so that one lucky trial moves little, and turned into
weights with a floor under every one of them, so that nothing is ever ruled out.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agents.grammar.genes import text_of
from agents.grammar.space import Space
from cognition.records import Insight

Target = tuple[str, str]  # field and the text of its new value
MutationWeights = Mapping[Target, float]
Effects = Mapping[Target, float]  # posterior means of single changes, nats per token

NORMAL_95 = 1.959964  # half-width of a 95% interval in standard errors


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningSettings:
    """How far insights bend the mutation weights. Raises ValueError for impossible figures."""

    prior_sd: float = 0.05  # nats per token: how much single changes differ before anything is known
    temperature: float = 0.05  # nats per token: an effect of this size changes a weight by a factor of e
    floor: float = 0.25  # share of the weight that always stays uniform
    frozen: bool = False  # True: learn nothing, stay uniform

    def __post_init__(self) -> None:
        for name, value in (("prior_sd", self.prior_sd), ("temperature", self.temperature)):
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"learning.{name} is {value}; give a positive number of nats per token")
        if not 0 < self.floor <= 1:
            raise ValueError(f"learning.floor is {self.floor}; give a share above 0 (nothing ruled out) and up to 1")


def uniform_weights(space: Space[Any]) -> dict[Target, float]:
    """Every field is equally likely, and every value within its field; the weights sum to one."""
    share = 1.0 / len(space.domains)
    return {(name, text_of(value)): share / len(domain) for name, domain in space.domains.items() for value in domain}


def target_of(space: Space[Any], change: str) -> Target | None:
    """Field and new value of "field: old -> new"; None where the text is no change within the space."""
    target = named_target(change)
    domain = space.domains.get(target[0], ()) if target else ()
    return target if target and any(target[1] == text_of(value) for value in domain) else None


def named_target(change: str) -> Target | None:
    """The same of any space."""
    name, colon, values = change.partition(": ")
    _, arrow, new = values.partition(" -> ")
    return (name, new) if colon and arrow else None


def shrunken_effect(effects: Sequence[tuple[float, float]], prior_sd: float) -> float:
    """Posterior mean of an effect with prior N(0, prior_sd^2), from (effect, standard error) pairs; 0.0 for none."""
    precision = 1.0 / prior_sd**2
    weighted = 0.0
    for effect, stderr in effects:
        weight = 1.0 / stderr**2
        precision += weight
        weighted += weight * effect
    return weighted / precision


def mutation_weights(
    space: Space[Any], insights: Iterable[Insight], settings: LearningSettings, effects: Effects | None = None
) -> dict[Target, float]:
    """Weight of every (field, new value), from the insights that compare one change with the parent.

    Negative effects (a lower loss) raise a weight. Changes made together share their effect equally. An insight
    without a finite interval is left out. The weights sum to one and none is below `floor` times its uniform weight.

    `effects`: what the insights come to, where that is known already (agents.grammar.lessons).
    """
    base = uniform_weights(space)
    if settings.frozen:
        return base
    if effects is not None:
        return _tilted(base, {target: effect for target, effect in effects.items() if target in base}, settings)
    measured = [insight for insight in insights if insight.source == "measured"]  # words over them say it again
    by_change = [insight for insight in measured if insight.change and insight.against == "parent"]
    num_changes = Counter((insight.candidate_id, insight.against_id) for insight in by_change)
    seen: dict[Target, list[tuple[float, float]]] = defaultdict(list)
    for insight in by_change:
        target = target_of(space, insight.change or "")
        stderr = (insight.high - insight.low) / (2 * NORMAL_95)
        if target is not None and math.isfinite(insight.effect) and math.isfinite(stderr) and stderr > 0:
            share = insight.effect / num_changes[insight.candidate_id, insight.against_id]
            seen[target].append((share, stderr))
    return _tilted(base, {t: shrunken_effect(found, settings.prior_sd) for t, found in seen.items()}, settings)


def _tilted(base: dict[Target, float], effects: Effects, settings: LearningSettings) -> dict[Target, float]:
    if not effects:
        return base
    energy = {t: effects.get(t, 0.0) / settings.temperature for t in base}
    lowest = min(energy.values())
    tilted = {t: base[t] * math.exp(lowest - energy[t]) for t in base}
    total = sum(tilted.values())
    return {t: settings.floor * base[t] + (1 - settings.floor) * tilted[t] / total for t in base}
