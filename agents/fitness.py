"""The fitness: one pure function, every term of it kept.

Loss and benchmark terms follow ASI-Arch (arXiv 2507.18074): a sigmoid of slope 6 over the difference to the reference
baseline, clipped at +-10%. Its third term is an LLM's opinion; here it is the measured quality (counted cost, state
size and novelty), blended with a model judge's opinion where one judges. Never a measured time: fitness must not depend
on the machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class FitnessSettings:
    """Weights and scales of the fitness; weights are relative. Raises ValueError for impossible figures."""

    loss_weight: float = 1.0
    benchmark_weight: float = 1.0
    quality_weight: float = 1.0
    cost_weight: float = 0.4  # within the quality
    state_weight: float = 0.25
    novelty_weight: float = 0.35
    margin: float = 0.1  # differences beyond this share of the reference (or of accuracy) count no further
    slope: float = 6.0
    leak_margin: float = 0.1  # a loss below the best baseline's by more than this share of it is suspicious
    leak_sigmas: float = 10.0  # ... or by more than so many standard deviations of a baseline's seeds
    opinion_share: float = 0.5  # of the quality, where a model judges; 0: none is asked
    novelty_scale: float = 0.3  # fingerprint distance at which novelty is 1 - 1/e

    def __post_init__(self) -> None:
        outer = (self.loss_weight, self.benchmark_weight, self.quality_weight)
        inner = (self.cost_weight, self.state_weight, self.novelty_weight)
        for name, weights in (("loss, benchmark, quality", outer), ("cost, state, novelty", inner)):
            if any(not math.isfinite(w) or w < 0 for w in weights) or sum(weights) <= 0:
                raise ValueError(f"fitness weights ({name}) are {weights}; give non-negative numbers, not all zero")
        if not 0 <= self.opinion_share <= 1:
            raise ValueError(f"fitness.opinion_share is {self.opinion_share}; give a share from 0 to 1")
        if self.loss_weight <= 0:
            raise ValueError(f"fitness.loss_weight is {self.loss_weight}; the loss always counts: make it positive")
        for name, value in (
            ("margin", self.margin),
            ("slope", self.slope),
            ("leak_margin", self.leak_margin),
            ("leak_sigmas", self.leak_sigmas),
            ("novelty_scale", self.novelty_scale),
        ):
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"fitness.{name} is {value}; give a positive number")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The figures of one candidate, or of the reference it is compared with."""

    loss: float  # nats per token, sealed
    benchmark: float | None = None  # mean probe accuracy, 0..1
    flops_per_token: float | None = None
    state_bytes: int | None = None
    novelty: float | None = None  # fingerprint distance to the nearest earlier candidate; None: nothing came before
    opinion: float | None = None  # a model judge's, as a quality of 0..1; None: nobody's


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitness:
    """The fitness and its terms, each in 0..1; weights sum to one. A benchmark that was not measured has weight 0."""

    value: float
    loss_term: float
    benchmark_term: float | None
    quality_term: float
    cost_quality: float
    state_quality: float
    novelty_quality: float
    loss_weight: float
    benchmark_weight: float
    quality_weight: float


def squashed(gain: float, settings: FitnessSettings) -> float:
    """sigmoid(slope * gain / margin) with the gain clipped at the margin: 0.5 for none, 0.998 for 10% at slope 6."""
    share = max(-1.0, min(1.0, gain / settings.margin))
    return 1.0 / (1.0 + math.exp(-settings.slope * share))


def thrift(figure: float | None, reference: float | None) -> float:
    """1 / (1 + figure / reference): 0.5 at the reference's figure, towards 1 below it; 0 for an unknown one.

    Where the reference needs nothing, as position-wise layers carry no state, who needs nothing either is its equal.
    """
    if figure is None or reference is None:
        return 0.0
    if reference <= 0:
        return 0.5 if figure <= 0 else 0.0
    return 1.0 / (1.0 + figure / reference)


def fitness(measured: Measured, reference: Measured, settings: FitnessSettings) -> Fitness:
    """Weighted mean of loss, benchmark and quality terms; higher is better.

    Raises ValueError for losses that are not finite or a reference loss that is not positive: those are failures, to
    be settled before anything is scored.
    """
    if not (math.isfinite(measured.loss) and math.isfinite(reference.loss) and reference.loss > 0):
        raise ValueError(
            f"loss {measured.loss} against reference {reference.loss}; score finite losses against a positive reference"
        )
    gain = (reference.loss - measured.loss) / reference.loss
    loss_term = squashed(gain, settings)
    benchmark_term = None
    if measured.benchmark is not None and reference.benchmark is not None:
        benchmark_term = squashed(measured.benchmark - reference.benchmark, settings)
    cost = thrift(measured.flops_per_token, reference.flops_per_token)
    state = thrift(measured.state_bytes, reference.state_bytes)
    novelty = 1.0 if measured.novelty is None else 1.0 - math.exp(-max(0.0, measured.novelty) / settings.novelty_scale)
    inner = settings.cost_weight + settings.state_weight + settings.novelty_weight
    quality = (settings.cost_weight * cost + settings.state_weight * state + settings.novelty_weight * novelty) / inner
    if measured.opinion is not None:
        quality = (1 - settings.opinion_share) * quality + settings.opinion_share * measured.opinion
    benchmark_weight = 0.0 if benchmark_term is None else settings.benchmark_weight
    total = settings.loss_weight + benchmark_weight + settings.quality_weight
    value = (
        settings.loss_weight * loss_term
        + benchmark_weight * (benchmark_term or 0.0)
        + settings.quality_weight * quality
    ) / total
    return Fitness(
        value=value,
        loss_term=loss_term,
        benchmark_term=benchmark_term,
        quality_term=quality,
        cost_quality=cost,
        state_quality=state,
        novelty_quality=novelty,
        loss_weight=settings.loss_weight / total,
        benchmark_weight=benchmark_weight / total,
        quality_weight=settings.quality_weight / total,
    )


def too_good(loss: float, best: float, settings: FitnessSettings, sigma: float | None = None) -> bool:
    """Whether a loss lies further below the best baseline's, `best`, than is believed at once.

    `sigma` is the standard deviation of a baseline's loss over seeds, where it is known; all are nats per token.
    """
    return best - loss > settings.leak_margin * best or (
        sigma is not None and best - loss > settings.leak_sigmas * sigma
    )
