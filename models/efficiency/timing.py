"""Repeats of one figure: the median, how far they spread, and the ratio to what was measured in turn with it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds of one thing done once, over repeats."""

    median_s: float
    spread: float  # distance of the quartiles, as a share of the median


def timing(repeats_s: Sequence[float]) -> Timing:
    """Median and spread of two repeats or more."""
    median_s = statistics.median(repeats_s)
    low, _, high = statistics.quantiles(repeats_s, n=4, method="inclusive")
    return Timing(median_s=median_s, spread=(high - low) / median_s)


def paired_ratio(ours_s: Sequence[float], theirs_s: Sequence[float]) -> float:
    """Median over repeats of our time over theirs, each pair taken one right after the other; below 1: we are faster.

    Raises ValueError for unequal numbers of repeats.
    """
    return statistics.median(our_s / their_s for our_s, their_s in zip(ours_s, theirs_s, strict=True))
