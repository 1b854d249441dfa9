"""Where a training will end, from how its peers ended: a regression over finished peers, with its own errors.

All trials of a stage share schedule and data order, so their curves rise and fall together; a curve by itself says less
about its end than its distance to others at the same step. On the project's own curves the errors at half of the
training are a third of those of power laws fitted to each curve alone (docs/benchmarks.md).

Not guaranteed: that the errors are Student's; a design unlike all peers may break any forecast.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cognition.statistics import student_t_cdf
from orchestrator.early_stopping.curves import Curve, Peer

_WINDOW = 0.1  # share of the training over which a curve's noise is averaged
_TINY_NATS = 1e-6  # least spread: losses that agree to here are the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The sealed loss that a training is expected to end at."""

    mean: float
    std: float  # of the prediction: scale of Student's distribution
    dof: int

    def chance_below(self, bar: float) -> float:
        """P(sealed loss <= bar)."""
        return student_t_cdf((bar - self.mean) / self.std, self.dof)


def predict(curve: Curve, steps: int, peers: Sequence[Peer], min_peers: int) -> Forecast | None:
    """Least squares of finished peers' sealed losses on their losses in the two windows before this step.

    The spread is that of the peers' leave-one-out errors, so a line that fits only what it has seen claims nothing;
    it grows for a curve that lies outside of what the peers cover.

    Returns None where fewer than `min_peers` finished peers have all points of both windows.
    """
    own = dict(curve)
    recent, earlier = _windows(own, curve[-1][0], _WINDOW * steps)
    found = [(_of_peer(peer, recent, earlier), peer.final) for peer in peers if peer.final is not None]
    known = [(features, final) for features, final in found if features is not None]
    if len(known) < min_peers:
        return None
    finals = np.array([final for _, final in known], dtype=np.float64)
    return _regress(np.array([features for features, _ in known]), finals, np.array(_features(own, recent, earlier)))


def _windows(losses: Mapping[int, float], step: int, width: float) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Steps of the points in (step - width, step], and in the window before that; that one may be empty."""
    recent = tuple(at for at in losses if step - width < at <= step)
    earlier = tuple(at for at in losses if step - 2 * width < at <= step - width)
    return recent, earlier


def _of_peer(peer: Peer, recent: tuple[int, ...], earlier: tuple[int, ...]) -> list[float] | None:
    """The features of a peer that has finished, computed once; None where it lacks a point of a window."""
    key = (recent, earlier)
    if key not in peer.means:
        there = all(step in peer.losses for step in (*recent, *earlier))
        peer.means[key] = _features(peer.losses, recent, earlier) if there else None
    return peer.means[key]


def _features(losses: Mapping[int, float], recent: Sequence[int], earlier: Sequence[int]) -> list[float]:
    return [1.0, *(sum(losses[at] for at in window) / len(window) for window in (recent, earlier) if window)]


def _regress(
    features_ND: npt.NDArray[np.float64], finals_N: npt.NDArray[np.float64], own_D: npt.NDArray[np.float64]
) -> Forecast:
    inverse_DN = np.linalg.pinv(features_ND)
    weights_D = inverse_DN @ finals_N
    leverage_N = np.einsum("nd,dn->n", features_ND, inverse_DN)
    errors_N = (finals_N - features_ND @ weights_D) / np.maximum(1 - leverage_N, _TINY_NATS)
    # Leave-one-out errors hold the uncertainty of the line at an average peer; further out it is larger.
    own_leverage = float(own_D @ (inverse_DN @ inverse_DN.T) @ own_D)
    widening = math.sqrt((1 + own_leverage) / (1 + float(leverage_N.mean())))
    std = max(_TINY_NATS, math.sqrt(float((errors_N**2).mean())) * widening)
    return Forecast(mean=float(own_D @ weights_D), std=std, dof=len(finals_N) - features_ND.shape[1])
