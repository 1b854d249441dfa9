"""Stopping policies: pure functions over curves, without Ray and without a clock.

None looks before `first_look` of the training, at its last point, or with fewer than `min_peers` finished candidates
beside it. Trials are ranked among other candidates, not among founders, and compared at the same step only. Curves are
telemetry of a process that runs generated code: good enough to stop a trial, never to rank one; the bar is a sealed
loss.

Not guaranteed: that a stopped trial was hopeless. How often that is wrong is what backtests and controls are for.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from orchestrator.early_stopping.curves import Curve, Peer, bar_of, num_finished, ranked
from orchestrator.early_stopping.extrapolation import predict
from orchestrator.early_stopping.settings import EXTRAPOLATION, HALVING, MEDIAN, NONE, StoppingSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a policy says to a trial at one point of its curve."""

    stop: bool
    step: int
    loss: float  # training loss at that point
    reason: str
    bar: float | None = None  # sealed loss that it has to reach; None: the policy has not looked
    chance: float | None = None  # that it will; None: the policy gives none


def decide(settings: StoppingSettings, curve: Curve, steps: int, peers: Sequence[Peer]) -> Decision:
    """Whether a trial goes on after the last point of its curve.

    Args:
        curve: its points so far; at least one.
        steps: of the whole training.
        peers: other trials of the same stage on the same seed, founders included.
    """
    step, loss = curve[-1]
    if settings.policy == NONE:
        return Decision(stop=False, step=step, loss=loss, reason="no policy")
    if step < settings.first_look * steps:
        return Decision(stop=False, step=step, loss=loss, reason="too early")
    if step >= steps:
        return Decision(stop=False, step=step, loss=loss, reason="all trained")
    known = num_finished(ranked(peers))
    if known < settings.min_peers:
        return Decision(stop=False, step=step, loss=loss, reason=f"{known} finished peers of {settings.min_peers}")
    judge = {HALVING: _halving, MEDIAN: _median, EXTRAPOLATION: _extrapolation}[settings.policy]
    return judge(settings, curve, steps, peers)


def is_control(trial_id: str, share: float) -> bool:
    """Whether a trial is let run on where a policy would stop it: a function of its id alone, so of no clock."""
    digest = hashlib.sha256(f"control/{trial_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def _halving(settings: StoppingSettings, curve: Curve, steps: int, peers: Sequence[Peer]) -> Decision:
    """Asynchronous successive halving with late rungs (ASHA, Li et al. 2018, arXiv 1810.05934, algorithm 2)."""
    step, loss = curve[-1]
    before = curve[-2][0] if len(curve) > 1 else 0
    rivals = ranked(peers)
    bar = bar_of(settings.keep, rivals)
    if not any(before < share * steps <= step for share in settings.rungs):
        return Decision(stop=False, step=step, loss=loss, bar=bar, reason="between rungs")
    there = [peer.losses[step] for peer in rivals if step in peer.losses]
    place = max(1, math.floor((len(there) + 1) / settings.eta))
    rank = 1 + sum(other < loss for other in there)
    return Decision(
        stop=rank > place,
        step=step,
        loss=loss,
        bar=bar,
        reason=f"number {rank} of {len(there) + 1} at this rung, of which {place} go on",
    )


def _median(settings: StoppingSettings, curve: Curve, steps: int, peers: Sequence[Peer]) -> Decision:
    """Median stopping (Golovin et al. 2017, Google Vizier, section 3.2.2), on running means on both sides."""
    step, loss = curve[-1]
    own = _running_mean(dict(curve), step)
    rivals = ranked(peers)
    means = [_running_mean(peer.losses, step) for peer in rivals if step in peer.losses]
    middle = median(means) if means else math.inf
    return Decision(
        stop=own > middle,
        step=step,
        loss=loss,
        bar=bar_of(settings.keep, rivals),
        reason=f"running mean {own:.4f} against a median of {middle:.4f} over {len(means)} peers",
    )


def _running_mean(losses: Mapping[int, float], step: int) -> float:
    seen = [loss for at, loss in losses.items() if at <= step]
    return sum(seen) / len(seen)


def _extrapolation(settings: StoppingSettings, curve: Curve, steps: int, peers: Sequence[Peer]) -> Decision:
    """Stop below a chance of epsilon to reach the bar, with peers' leave-one-out errors as the uncertainty."""
    step, loss = curve[-1]
    bar = bar_of(settings.keep, ranked(peers))
    forecast = predict(curve, steps, peers, settings.min_peers)
    if forecast is None:
        return Decision(stop=False, step=step, loss=loss, bar=bar, reason="too few finished peers have this step")
    chance = forecast.chance_below(bar)
    return Decision(
        stop=chance < settings.epsilon,
        step=step,
        loss=loss,
        bar=bar,
        chance=chance,
        reason=f"expected to end at {forecast.mean:.4f} +- {forecast.std:.4f}: a chance of {chance:.1%} to reach "
        f"{bar:.4f}",
    )
