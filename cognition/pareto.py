"""Who is not beaten on both of two figures: the Pareto front of loss against a cost. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

NameT = TypeVar("NameT")


def front(points: Mapping[NameT, tuple[float | None, float | None]]) -> Sequence[NameT]:
    """Names of those (loss, cost) that nobody else's match in both and beat in one; cheapest first. Lower is better.

    Equal points are on the front together. Who lacks a figure is on no front and keeps nobody off it.
    """
    known = [(cost, loss, name) for name, (loss, cost) in points.items() if loss is not None and cost is not None]
    known.sort(key=lambda point: point[:2])
    found: list[NameT] = []
    best: tuple[float, float] | None = None  # loss and cost of the last one on the front
    for cost, loss, name in known:
        if best is None or loss < best[0] or (loss, cost) == best:
            best = (loss, cost)
            found.append(name)
    return found
