"""Drawn trainings look like those that they were fitted to."""

from __future__ import annotations

import numpy as np
import pytest

from cognition.statistics import rank_correlation
from orchestrator.early_stopping.calibration import CURVES
from orchestrator.early_stopping.past import read_runs
from orchestrator.simulation.curves import Curves

DRAWS = 2000


def test_sealed_losses_have_the_middle_and_the_spread_of_the_shipped_ones() -> None:
    run = max(read_runs(CURVES), key=lambda run: len(run.trials))
    shipped = [trial.final for trial in run.trials if trial.number >= run.num_founders]
    curves, rng = Curves(), np.random.default_rng(0)
    drawn = [curves.final(curves.quality(rng, founder=False), rng) for _ in range(DRAWS)]
    assert np.mean(drawn) == pytest.approx(np.mean(shipped), abs=0.05)
    assert np.std(drawn) == pytest.approx(np.std(shipped), rel=0.35)


def test_ranks_settle_late_as_they_do_there() -> None:
    curves, rng = Curves(), np.random.default_rng(1)
    finals = [curves.final(curves.quality(rng, founder=False), rng) for _ in range(300)]
    points = [curves.points(final, rng) for final in finals]
    settled = {}
    for place, share in enumerate(curves.shares):
        found = rank_correlation([own[place] for own in points], finals)
        assert found is not None
        settled[share] = found.rho
    assert settled[0.1] < 0.5 < settled[0.5]
    assert settled[1.0] > 0.85


def test_founders_are_better_than_most_candidates_and_seeds_differ_by_little() -> None:
    curves, rng = Curves(), np.random.default_rng(2)
    founders = [curves.quality(rng, founder=True) for _ in range(200)]
    candidates = [curves.quality(rng, founder=False) for _ in range(200)]
    assert np.median(founders) < np.median(candidates)
    assert 0 < curves.seed_spread < np.std(candidates)
