from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.brief import Member, Noise
from agents.fitness import FitnessSettings, Measured, fitness, thrift
from agents.judge import Judge
from cognition.records import Candidate, Report, ReportKind, Trial, TrialStatus

DEFAULT = FitnessSettings()
REFERENCE = Measured(loss=2.5, benchmark=0.4, flops_per_token=1e6, state_bytes=4096, novelty=0.3)
loss_values = st.floats(0.1, 10.0)


def test_the_reference_itself_scores_one_half_on_loss_and_benchmark() -> None:
    score = fitness(REFERENCE, REFERENCE, DEFAULT)
    assert (score.loss_term, score.benchmark_term) == (0.5, 0.5)
    assert (score.cost_quality, score.state_quality) == (0.5, 0.5)
    assert score.novelty_quality == pytest.approx(1 - 1 / math.e)


def test_one_percent_shows_and_ten_percent_is_the_most() -> None:
    def term(loss: float) -> float:
        return fitness(Measured(loss=loss), Measured(loss=2.0), DEFAULT).loss_term

    assert term(1.98) == pytest.approx(1 / (1 + math.exp(-0.6)))
    assert term(1.8) == pytest.approx(1 / (1 + math.exp(-6.0)))
    assert term(1.0) == pytest.approx(term(1.8))
    assert term(9.0) == pytest.approx(1 / (1 + math.exp(6.0)))


@given(loss_values, loss_values, loss_values)
def test_a_lower_loss_never_scores_lower_and_terms_stay_between_0_and_1(a: float, b: float, reference: float) -> None:
    yardstick = Measured(loss=reference)
    better, worse = (fitness(Measured(loss=x), yardstick, DEFAULT) for x in sorted((a, b)))
    assert better.value >= worse.value
    for score in (better, worse):
        assert 0 <= score.value <= 1
        assert score.loss_weight + score.benchmark_weight + score.quality_weight == pytest.approx(1.0)


def test_every_part_pulls_its_own_way() -> None:
    base = fitness(REFERENCE, REFERENCE, DEFAULT).value

    def value(**fields: float) -> float:
        figures = {"loss": 2.5, "benchmark": 0.4, "flops_per_token": 1e6, "state_bytes": 4096, "novelty": 0.3} | fields
        return fitness(Measured(**figures), REFERENCE, DEFAULT).value  # type: ignore[arg-type]

    assert value(benchmark=0.45) > base > value(benchmark=0.35)
    assert value(flops_per_token=5e5) > base > value(flops_per_token=2e6)
    assert value(state_bytes=2048) > base > value(state_bytes=8192)
    assert value(novelty=0.6) > base > value(novelty=0.0)


def test_unknown_cost_earns_nothing_and_an_unmeasured_benchmark_has_no_weight() -> None:
    assert thrift(None, 1.0) == 0.0
    assert thrift(2.0, 1.0) == pytest.approx(1 / 3)
    assert thrift(0, 0) == 0.5  # as position-wise layers, which carry no state
    assert thrift(64, 0) == 0.0
    score = fitness(Measured(loss=2.0), Measured(loss=2.0), DEFAULT)
    assert score.benchmark_term is None
    assert (score.loss_weight, score.benchmark_weight, score.quality_weight) == (0.5, 0.0, 0.5)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_never_scored(loss: float) -> None:
    with pytest.raises(ValueError, match="score finite losses"):
        fitness(Measured(loss=loss), REFERENCE, DEFAULT)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"loss_weight": 0.0}, "loss always counts"),
        ({"quality_weight": -1.0}, "non-negative"),
        ({"cost_weight": 0.0, "state_weight": 0.0, "novelty_weight": 0.0}, "not all zero"),
        ({"margin": 0.0}, "fitness.margin is 0.0"),
    ],
)
def test_impossible_settings_are_refused(fields: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FitnessSettings(**fields)  # type: ignore[arg-type]


async def test_the_verdict_keeps_every_term_and_averages_seeds(
    make_member: Callable[..., Member],
    make_candidate: Callable[..., Candidate],
    make_trial: Callable[..., Trial],
    make_report: Callable[..., Report],
) -> None:
    reference = make_member(losses=(2.4, 2.6), flops_per_token=100.0, state_bytes=64)
    candidate = make_candidate(number=5)
    report = make_report(candidate, flops_per_token=50.0, state_bytes=64, nearest_distance=0.3)
    trials = [make_trial(candidate, loss, seed) for seed, loss in enumerate((2.4, 2.5))]
    verdict = await Judge().assess(candidate, report, trials, reference, now=9.0)
    assert verdict.loss == pytest.approx(2.45)
    assert verdict.fitness == pytest.approx(
        verdict.loss_weight * (verdict.loss_term or 0) + verdict.quality_weight * (verdict.quality_term or 0)
    )
    assert verdict.cost_quality == pytest.approx(2 / 3)
    assert (verdict.number, verdict.stage, verdict.created_at, verdict.suspicious) == (5, "explore", 9.0, False)
    assert "2.4500 against 2.5000" in verdict.reason


async def test_a_loss_too_good_is_marked_and_believed_only_after_another_look(
    make_member: Callable[..., Member],
    make_candidate: Callable[..., Candidate],
    make_trial: Callable[..., Trial],
    make_report: Callable[..., Report],
) -> None:
    reference, candidate = make_member(losses=(2.5,)), make_candidate(number=1)
    for loss, marked in ((2.26, False), (2.24, True)):
        verdict = await Judge().assess(candidate, make_report(candidate), [make_trial(candidate, loss)], reference)
        assert verdict.suspicious is marked
        assert ("believed at once" in verdict.reason) is marked
    noisy = await Judge().assess(
        candidate, make_report(candidate), [make_trial(candidate, 2.35)], reference, Noise(sigma=0.01, dof=4)
    )
    assert noisy.suspicious, "fifteen standard deviations of the seeds below the reference"
    above_another = await Judge().assess(
        candidate, make_report(candidate), [make_trial(candidate, 2.35)], reference, Noise(sigma=0.01, dof=4), best=2.3
    )
    assert not above_another.suspicious, "another baseline is better still"
    confirmed = await Judge().reconsider(verdict, make_report(candidate))
    assert confirmed.fitness == verdict.fitness
    assert "passed" in confirmed.reason
    again = make_report(candidate, ReportKind.refused, detail="causality: moved by 0.1")
    withheld = await Judge().reconsider(verdict, again)
    assert withheld.fitness is None
    assert withheld.suspicious
    assert "causality: moved by 0.1" in withheld.reason


async def test_failed_and_stopped_trials_leave_no_fitness(
    make_member: Callable[..., Member],
    make_candidate: Callable[..., Candidate],
    make_trial: Callable[..., Trial],
    make_report: Callable[..., Report],
) -> None:
    reference, candidate = make_member(losses=(2.5,)), make_candidate()
    good = make_trial(candidate, 2.0, 0)
    for bad in (make_trial(candidate, None, 1), make_trial(candidate, None, 1, status=TrialStatus.stopped)):
        verdict = await Judge().assess(candidate, make_report(candidate), [good, bad], reference)
        assert verdict.fitness is None
        assert verdict.loss is None
        assert "seed 1" in verdict.reason
    verdict = await Judge().assess(candidate, make_report(candidate), [make_trial(candidate, None)], reference)
    assert verdict.reason == "seed 0 failed (nonfinite)"


async def test_mixed_stages_and_an_untrained_reference_are_refused(
    make_member: Callable[..., Member],
    make_candidate: Callable[..., Candidate],
    make_trial: Callable[..., Trial],
    make_report: Callable[..., Report],
) -> None:
    candidate = make_candidate()
    trial, other = make_trial(candidate, 2.0), make_trial(candidate, 2.0, stage="verify")
    with pytest.raises(ValueError, match="judge exactly one stage"):
        await Judge().assess(candidate, make_report(candidate), [trial, other], make_member(losses=(2.5,)))
    with pytest.raises(ValueError, match="at least one"):
        await Judge().assess(candidate, make_report(candidate), [other], make_member(losses=(2.5,)))
