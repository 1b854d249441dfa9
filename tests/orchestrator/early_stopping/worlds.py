"""Made-up curves whose ends are known: losses fall towards a level of their own, all with the same bumps."""

from __future__ import annotations

import random

from orchestrator.early_stopping.curves import Curve, Peer
from orchestrator.early_stopping.past import PastPoint, PastRun, PastTrial

STEPS = 100
POINTS = tuple(range(10, STEPS + 1, 10))
BUMPS = {step: 0.2 * random.Random(step).uniform(-1, 1) for step in POINTS}  # of the data order, which all share


def loss_at(level: float, step: int, noise: float = 0.0) -> float:
    return level + 3.0 * 0.5 ** (step / 12) + BUMPS[step] + noise


def curve_of(level: float, until: int = STEPS) -> Curve:
    return [(step, loss_at(level, step)) for step in POINTS if step <= until]


def peer_of(level: float, rng: random.Random | None = None) -> Peer:
    """A finished peer; with an `rng` its points scatter, so that no forecast is exact."""
    losses = {step: loss_at(level, step, rng.gauss(0, 0.02) if rng else 0.0) for step in POINTS}
    return Peer(losses=losses, final=level)


def past_trial(number: int, level: float, start: float, lasts: float = 1.0) -> PastTrial:
    points = [PastPoint(step=step, loss=loss, at=start + lasts * step / (STEPS + 1)) for step, loss in curve_of(level)]
    return PastTrial(
        trial_id=f"n{number}",
        number=number,
        seed=0,
        started_at=start,
        finished_at=start + lasts,
        final=level,
        points=tuple(points),
    )


def past_run(levels: list[float], num_founders: int = 0) -> PastRun:
    """One trial after another, candidates numbered from zero."""
    trials = tuple(past_trial(number, level, float(number)) for number, level in enumerate(levels))
    return PastRun(name="made", num_founders=num_founders, trials=trials)
