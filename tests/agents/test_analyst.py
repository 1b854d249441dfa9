from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from agents.analyst import Analyst, Context, Noise
from agents.brief import Member
from agents.grammar.token_mixer.known import BASELINE_GENOMES, KNOWN_GENOMES
from agents.grammar.token_mixer.rules import canonical
from cognition.records import Candidate, Trial, Verdict

NOISE = Noise(sigma=0.02, dof=4)
T_975_4 = 2.776445  # Student's t, 97.5%, 4 degrees of freedom


def verdict(candidate: Candidate, fitness: float | None = 0.5) -> Verdict:
    return Verdict(candidate_id=candidate.candidate_id, number=candidate.number, stage="explore", fitness=fitness)


@pytest.fixture
def child(make_candidate: Callable[..., Candidate]) -> Candidate:
    genome = canonical(replace(BASELINE_GENOMES["delta_net"], rotary=True, direct=True))
    return make_candidate(genome, 9, changes=("rotary: false -> true", "direct: false -> true"), parent_ids=("p",))


async def test_effects_are_differences_with_intervals_from_the_pooled_noise(
    child: Candidate, make_member: Callable[..., Member], make_trial: Callable[..., Trial]
) -> None:
    parent = make_member(losses=(2.5, 2.6))
    context = Context(stage="explore", noise=NOISE, parents=(parent,))
    trial = make_trial(child, 2.4)
    first, second = await Analyst().explain(child, (trial,), verdict(child), context, now=3.0)
    assert (first.change, second.change) == child.changes
    assert first.effect == pytest.approx(-0.15)
    margin = T_975_4 * 0.02 * (1 + 1 / 2) ** 0.5
    assert (first.low, first.high) == pytest.approx((-0.15 - margin, -0.15 + margin), abs=1e-5)
    assert (first.against, first.against_id) == ("parent", parent.candidate.candidate_id)
    assert first.evidence == (trial.trial_id, *(t.trial_id for t in parent.trials))
    assert "together with 1 more" in first.claim
    assert "lowers the loss" in first.claim
    assert first.created_at == 3.0


async def test_a_difference_within_the_noise_is_called_so(
    child: Candidate, make_member: Callable[..., Member], make_trial: Callable[..., Trial]
) -> None:
    context = Context(stage="explore", noise=NOISE, baseline=make_member(losses=(2.41,)))
    (only,) = await Analyst().explain(child, (make_trial(child, 2.4),), verdict(child), context)
    assert only.against == "baseline"
    assert only.change is None
    assert "no difference beyond" in only.claim
    worse = await Analyst().explain(child, (make_trial(child, 2.9),), verdict(child), context)
    assert "raises the loss" in worse[0].claim


async def test_the_best_sibling_and_the_second_parent_are_compared_as_a_whole(
    child: Candidate, make_member: Callable[..., Member], make_trial: Callable[..., Trial]
) -> None:
    weak, strong = make_member(KNOWN_GENOMES["gla"], 2, (2.9,)), make_member(KNOWN_GENOMES["hgrn2"], 3, (2.3,))
    untrained = make_member(KNOWN_GENOMES["mamba2"], 4)
    context = Context(
        stage="explore",
        noise=NOISE,
        parents=(make_member(losses=(2.5,)), make_member(KNOWN_GENOMES["hier_gate_net"], 1, (2.6,))),
        siblings=(weak, strong, untrained),
    )
    insights = await Analyst().explain(child, (make_trial(child, 2.4),), verdict(child), context)
    assert [(i.against, i.change is None) for i in insights] == [
        ("parent", False),
        ("parent", False),
        ("parent", True),
        ("sibling", True),
    ]
    assert insights[-1].against_id == strong.candidate.candidate_id
    assert len({i.insight_id for i in insights}) == 4
    assert insights == await Analyst().explain(child, (make_trial(child, 2.4),), verdict(child), context)


async def test_nothing_is_said_without_result_noise_or_comparison(
    child: Candidate, make_member: Callable[..., Member], make_trial: Callable[..., Trial]
) -> None:
    context = Context(stage="explore", noise=NOISE, baseline=make_member(losses=(2.5,)))
    trial = make_trial(child, 2.4)
    analyst = Analyst()
    assert await analyst.explain(child, (make_trial(child, None),), verdict(child, None), context) == ()
    assert await analyst.explain(child, (trial,), verdict(child, None), context) == ()
    assert await analyst.explain(child, (trial,), verdict(child), replace(context, noise=None)) == ()
    assert await analyst.explain(child, (trial,), verdict(child), replace(context, baseline=make_member())) == ()
    assert await analyst.explain(child, (trial,), verdict(child), replace(context, stage="verify")) == ()


def test_noise_that_was_not_measured_is_refused() -> None:
    with pytest.raises(ValueError, match="two seeds"):
        Noise(sigma=0.0, dof=0)
