"""What taking parts away did, with intervals that hold for all of them together. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from cognition.kinds import PartFinding
from cognition.statistics import pooled_std, student_t_quantile

ERROR_RATE = 0.05  # that any of the intervals misses its effect
_MOST_SEEDS = 10_000

Losses = Mapping[int, float]  # by seed


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """Loss of a variant minus loss of the whole design, over the seeds that both finished; above 0: the part helps."""

    num_seeds: int
    mean: float
    low: float | None  # None: no spread is known
    high: float | None
    finding: PartFinding
    seeds_needed: int | None = None  # where it is unclear: so many in all might tell, at the spread seen


def effects(whole: Losses, variants: Mapping[str, Losses], tolerance: float) -> dict[str, Effect]:
    """The effect of each variant. One that shares no seed with the whole design is left out.

    Differences are paired by seed, so that what a seed does to both cancels. Their spread is pooled over all variants
    (with few seeds each alone would hardly have an interval), and the intervals are simultaneous (Bonferroni).

    Args:
        whole: the design's losses, nats per token.
        variants: those of each variant.
        tolerance: nats per token that a part may be worth and still be called not needed, above 0.

    Raises:
        ValueError: tolerance is not positive.
    """
    if not tolerance > 0:
        raise ValueError(f"tolerance is {tolerance}: use nats per token above 0")
    gaps = {name: _gaps(whole, losses) for name, losses in variants.items()}
    gaps = {name: found for name, found in gaps.items() if found}
    margins = _margins(list(gaps.values()))
    found = {}
    for name, seen in gaps.items():
        mean, num = fmean(seen), len(seen)
        if margins is None:
            found[name] = Effect(num_seeds=num, mean=mean, low=None, high=None, finding=PartFinding.unclear)
            continue
        half = margins / math.sqrt(num)
        low, high = mean - half, mean + half
        finding = finding_of(low, high, tolerance)
        needed = _needed(mean, margins, tolerance) if finding is PartFinding.unclear else None
        found[name] = Effect(num_seeds=num, mean=mean, low=low, high=high, finding=finding, seeds_needed=needed)
    return found


def finding_of(low: float, high: float, tolerance: float) -> PartFinding:
    """What an interval of the effect of removing a part allows to say."""
    if high < 0:
        return PartFinding.hurts
    if high < tolerance:
        return PartFinding.not_needed
    return PartFinding.helps if low > 0 else PartFinding.unclear


def _gaps(whole: Losses, losses: Losses) -> list[float]:
    return [losses[seed] - whole[seed] for seed in sorted(losses.keys() & whole.keys())]


def _margins(gaps: Sequence[Sequence[float]]) -> float | None:
    """Half the width of an interval over one seed; None where no variant has two."""
    if not any(len(seen) > 1 for seen in gaps):
        return None
    pooled, num = pooled_std(gaps), len(gaps)
    # All gaps of a seed have the whole design's loss in common, so that they tell less of the spread than as many
    # independent ones would: Satterthwaite's degrees of freedom for variances 1, ..., 1 and 1 + num along their axes.
    dof = pooled.dof * 4 * num / ((num - 1) + (num + 1) ** 2)
    return student_t_quantile(1 - ERROR_RATE / (2 * num), dof) * pooled.std


def _needed(mean: float, margin: float, tolerance: float) -> int:
    """Seeds with which the interval would leave zero, or stay below the tolerance, if the mean stayed what it is."""
    distance = max(abs(mean), tolerance - mean)
    return min(_MOST_SEEDS, math.ceil((margin / distance) ** 2) + 1)
