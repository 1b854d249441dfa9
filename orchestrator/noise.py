"""How far results scatter over seeds at each stage, and the smallest difference that this leaves to be told."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cognition.records import NoiseLevel, Trial
from cognition.statistics import (
    MOST_POOLED,
    Pooled,
    alone,
    paired_noise,
    smallest_by_interval,
    smallest_effect,
)
from models.scale import Stage
from orchestrator.config import Settings
from orchestrator.founders import BASELINE_ARM
from orchestrator.population import Population

Metric = Literal["loss", "benchmark"]
METRICS: tuple[Metric, ...] = ("loss", "benchmark")


def noise_levels(settings: Settings, population: Population, stage: Stage) -> Sequence[NoiseLevel]:
    """The noise of every figure at a stage, where more results are in than the rows know of.

    At the first stage baselines alone are trained on several seeds; above it everybody is.
    """
    seeds = stage.seeds
    if stage == settings.ladder.first:
        first = max(seeds) + 1
        seeds = (*seeds, *range(first, first + settings.campaign.noise_seeds))
    found = []
    for metric in METRICS:
        rows = _rows(settings, population, stage, seeds, metric)
        known = population.verified.noise.get((stage.name, metric))
        noise = paired_noise(rows)
        num = sum(map(len, rows))
        if noise is None or (known is not None and known.num_results >= num):
            continue
        found.append(
            NoiseLevel(
                scale=settings.scale.name,
                stage=stage.name,
                metric=metric,
                num_results=num,
                num_mixers=len(rows),
                num_seeds=len(seeds),
                sigma=noise.std,
                dof=noise.dof,
                stage_seeds=len(stage.seeds),
                smallest_difference=told_at(settings, stage, noise),
                created_at=time.time(),
            )
        )
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Foretold:
    """What a stage is expected to tell, by the noise of the nearest stage that has been measured."""

    measured_at: str
    smallest_difference: float | None


def told_before(settings: Settings, population: Population, stage: Stage) -> Foretold | None:
    """What a stage's seeds will tell, by its own noise or that of the nearest stage below; None: none is known yet."""
    for one in reversed(settings.scale.stages[: settings.scale.stages.index(stage) + 1]):
        level = population.verified.noise.get((one.name, "loss"))
        if level is not None:
            noise = Pooled(std=level.sigma, dof=level.dof)
            return Foretold(measured_at=one.name, smallest_difference=told_at(settings, stage, noise))
    return None


def told_at(settings: Settings, stage: Stage, noise: Pooled) -> float | None:
    """The smallest difference that the seeds of a stage tell in four of five cases, at this noise.

    At the first stage by an insight's interval, above it by a claim that is tested alone. None: no difference.
    """
    num = len(stage.seeds)
    if stage == settings.ladder.first:
        return smallest_by_interval(noise, num)
    rivals = settings.ladder.rule(stage).rivals(settings.num_baselines)
    lent = min(MOST_POOLED, num - 1) if rivals > 2 else 0
    return smallest_effect(noise.std, num, alone(), prior_dof=lent)


def _rows(
    settings: Settings, population: Population, stage: Stage, seeds: Sequence[int], metric: Metric
) -> list[list[float]]:
    """The figures of every mixer that has one on each of these seeds."""
    first = stage == settings.ladder.first
    rows = []
    for candidate_id in population.at(stage.name):
        candidate = population.candidate(candidate_id)
        if candidate is None or (first and candidate.arm != BASELINE_ARM):
            continue
        trials = [population.trial(candidate_id, stage.name, seed) for seed in seeds]
        values = [figure for trial in trials if (figure := _figure(trial, metric)) is not None]
        if len(values) == len(seeds):
            rows.append(values)
    return rows


def _figure(trial: Trial | None, metric: Metric) -> float | None:
    if trial is None or not trial.succeeded:
        return None
    return trial.loss if metric == "loss" else trial.benchmark
