"""Curves and sealed losses, drawn from what is fitted to the shipped ones (early_stopping/calibration.csv).

Sealed losses are smoothed draws from those of the candidates there; the training loss at each tenth of a training is
linear in the sealed loss with the residual spread that it has there. Candidates are drawn independently of each other:
nobody is better for having good parents.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orchestrator.early_stopping.calibration import CURVES
from orchestrator.early_stopping.past import PastRun, PastTrial, read_runs

_LEAST_NATS = 0.5  # no draw lies below: text has entropy


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """Training loss at a share of the training, from the sealed loss."""

    share: float
    level: float
    slope: float
    spread: float


class Curves:
    """What trainings look like."""

    def __init__(self) -> None:
        run = max(read_runs(CURVES), key=lambda run: len(_candidates(run)))
        trials = _candidates(run)
        self._finals = np.array([trial.final for trial in trials])
        self._founders = np.array([trial.final for trial in run.trials if trial.number < run.num_founders])
        # Silverman's rule of thumb.
        self._bandwidth = 1.06 * float(self._finals.std(ddof=1)) / float(len(self._finals)) ** 0.2
        self.seed_spread = _seed_spread(run)
        self._lines = tuple(_fitted(trials, step, self._finals) for step in [point.step for point in trials[0].points])

    @property
    def shares(self) -> tuple[float, ...]:
        """Where a curve has its points, as shares of the training."""
        return tuple(line.share for line in self._lines)

    def quality(self, rng: np.random.Generator, *, founder: bool) -> float:
        """The loss that a design comes to, apart from its seeds."""
        if founder:
            return float(rng.choice(self._founders))
        return float(max(_LEAST_NATS, float(rng.choice(self._finals)) + self._bandwidth * float(rng.standard_normal())))

    def final(self, quality: float, rng: np.random.Generator) -> float:
        """The sealed loss of one training."""
        return max(_LEAST_NATS, quality + self.seed_spread * float(rng.standard_normal()))

    def points(self, final: float, rng: np.random.Generator) -> list[float]:
        """Training losses at `shares`."""
        noise = rng.standard_normal(len(self._lines))
        return [
            line.level + line.slope * final + line.spread * float(one)
            for line, one in zip(self._lines, noise, strict=True)
        ]


def _candidates(run: PastRun) -> list[PastTrial]:
    """Those of candidates, with all points."""
    own = [trial for trial in run.trials if trial.number >= run.num_founders]
    most = max(len(trial.points) for trial in own)
    return [trial for trial in own if len(trial.points) == most]


def _fitted(trials: list[PastTrial], step: int, finals_N: npt.NDArray[np.float64]) -> _Line:
    losses_N = np.array([next(point.loss for point in trial.points if point.step == step) for trial in trials])
    slope, level = np.polyfit(finals_N, losses_N, 1)
    residuals_N = losses_N - (level + slope * finals_N)
    return _Line(
        share=step / trials[0].steps, level=float(level), slope=float(slope), spread=float(residuals_N.std(ddof=2))
    )


def _seed_spread(run: PastRun) -> float:
    """Standard deviation of a founder's sealed loss over its seeds, pooled."""
    by_number: dict[int, list[float]] = {}
    for trial in run.trials:
        if trial.number < run.num_founders:
            by_number.setdefault(trial.number, []).append(trial.final)
    variances = [float(np.var(finals, ddof=1)) for finals in by_number.values() if len(finals) > 1]
    return float(np.sqrt(np.mean(variances)))
