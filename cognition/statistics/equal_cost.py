"""Ways of searching, held against each other at what they cost. Pure functions over attempts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cognition.statistics.intervals import share_interval

FEWEST = 5  # attempts from which on a bootstrap has something to draw from
_NUM_ORDERS, _NUM_RESAMPLES = 200, 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One candidate: what all its trials cost, and what came of it."""

    cost: float  # above 0 where anything was trained
    loss: float | None  # None: nothing that could be scored


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """What one way of searching gives for the cost that all of them are held to."""

    num: int  # attempts, whatever they cost
    cost: float  # of all of them
    num_hits: int  # of all of them, with a loss below the bar
    hit_low: float  # 95% interval of the share of hits
    hit_high: float
    best: (
        float | None
    )  # expected lowest loss at the common cost, half of what the cheapest group took; None: nothing scored
    best_low: float | None  # 95% interval; None with fewer than FEWEST attempts
    best_high: float | None
    difference: float | None = None  # of `best` to the control's; below 0 is better
    low: float | None = None
    high: float | None = None

    @property
    def hit_share(self) -> float:
        return self.num_hits / self.num


def at_equal_cost(
    groups: Mapping[str, Sequence[Attempt]], *, bar: float | None, control: str | None, rng: np.random.Generator
) -> tuple[float, Mapping[str, Return]]:
    """The common cost, and each group's return at it.

    The common cost is half of what the group that cost least has cost; groups that cost nothing are left out of that.
    What a group is expected to have in hand by then is the mean, over random orders of its attempts, of the lowest loss
    (expected validation performance: Dodge et al. 2019, arXiv 1909.03004), the bar among them, which is in hand before
    anything is searched: so who finds nothing has it, and no more. The interval is that of a bootstrap over attempts.
    At all of the cost there would be one order, and a bootstrap of a minimum misses too often: intervals of the
    difference of two equal searches left zero out in 17 to 23 of 100 simulated cases, at half in 3 to 6. Attempts of a
    search that learns depend on each other, which none of this knows of. A minimum over resamples is never below the
    lowest loss seen, so that `best_low` says little of what was not found.

    Args:
        groups: attempts by name; empty groups are left out.
        bar: the loss that a hit stays below, for instance the best baseline's; None: the worst loss seen.
        control: the group that differences are to; None, or one that is not there: none are.
        rng: for orders and resamples.

    Raises:
        ValueError: a cost is negative or not finite.
    """
    groups = {name: attempts for name, attempts in groups.items() if attempts}
    for name, attempts in groups.items():
        if any(not np.isfinite(one.cost) or one.cost < 0 for one in attempts):
            raise ValueError(f"group {name!r} has a cost that is negative or not finite; give 0 or more")
    spent = {name: sum(one.cost for one in attempts) for name, attempts in groups.items()}
    common = min((cost for cost in spent.values() if cost > 0), default=0.0) / 2
    seen = [one.loss for attempts in groups.values() for one in attempts if one.loss is not None]
    at_first = bar if bar is not None else max(seen, default=None)
    bests = {name: _bests(attempts, common, at_first, rng) for name, attempts in groups.items()}
    found = {}
    for name, attempts in groups.items():
        hits = sum(bar is not None and one.loss is not None and one.loss < bar for one in attempts)
        hit_low, hit_high = share_interval(hits, len(attempts))
        mean, resampled = bests[name]
        low, high = _interval(resampled) if len(attempts) >= FEWEST else (None, None)
        gap: tuple[float | None, float | None, float | None] = (None, None, None)
        to, to_resampled = bests[control] if control in bests and control != name else (None, resampled)
        if mean is not None and to is not None:
            enough = min(len(attempts), len(groups[str(control)])) >= FEWEST
            gap = (mean - to, *(_interval(resampled - to_resampled) if enough else (None, None)))
        found[name] = Return(
            num=len(attempts),
            cost=spent[name],
            num_hits=hits,
            hit_low=hit_low,
            hit_high=hit_high,
            best=mean,
            best_low=low,
            best_high=high,
            difference=gap[0],
            low=gap[1],
            high=gap[2],
        )
    return common, found


def _bests(
    attempts: Sequence[Attempt], common: float, at_first: float | None, rng: np.random.Generator
) -> tuple[float | None, npt.NDArray[np.float64]]:
    """The expected lowest loss in hand, and the same of resamples, shape [_NUM_RESAMPLES]."""
    if at_first is None:
        return None, np.full(_NUM_RESAMPLES, np.nan)
    cost = np.array([one.cost for one in attempts])
    loss = np.array([at_first if one.loss is None else min(one.loss, at_first) for one in attempts])
    orders = np.stack([rng.permutation(len(attempts)) for _ in range(_NUM_ORDERS)])
    drawn = rng.integers(len(attempts), size=(_NUM_RESAMPLES, len(attempts)))
    lowest = _lowest(cost[orders], loss[orders], common, at_first)
    return float(lowest.mean()), _lowest(cost[drawn], loss[drawn], common, at_first)


def _lowest(
    cost_RN: npt.NDArray[np.float64], loss_RN: npt.NDArray[np.float64], common: float, at_first: float
) -> npt.NDArray[np.float64]:
    """The lowest loss among those that fit the common cost, in each row; shape [R]."""
    fits_RN = np.cumsum(cost_RN, axis=1) <= common * (1 + 1e-9)
    lowest: npt.NDArray[np.float64] = np.where(fits_RN, loss_RN, at_first).min(axis=1)
    return lowest


def _interval(values: npt.NDArray[np.float64]) -> tuple[float | None, float | None]:
    if not np.isfinite(values).all():
        return None, None
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
