"""What the agents are told, read from the population."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Sequence

import pytest

from agents.brief import Brief
from cognition.insights import with_pool
from cognition.records import Candidate, Event, Record, ReportKind
from orchestrator.arms import ArmSettings
from orchestrator.briefing import brief_of, context_of, reference_of
from orchestrator.config import Settings, compose, settings_from
from orchestrator.errors import UsageError
from orchestrator.population import EXPLAINED, Population
from tests.cognition.factories import make_candidate, make_insight, make_report, make_trial, make_verdict
from tests.cognition.test_insights import insight

BASELINE = make_candidate(0, arm="baseline")


@pytest.fixture(scope="module")
def settings() -> Settings:
    return settings_from(compose(["+campaign=linear_attn", "scale=tiny", "seed=5"]))


def told(brief: Brief) -> Brief:
    """The brief without the time at which it was written."""
    return dataclasses.replace(brief, now=0.0)


def history(candidate: Candidate, fitness: float, losses: Sequence[float] = (2.5,)) -> list[Record]:
    return [
        candidate,
        make_report(candidate),
        *(make_trial(candidate, seed=seed, loss=loss) for seed, loss in enumerate(losses)),
        make_verdict(candidate, fitness),
        make_insight(candidate, BASELINE),
        Event(event_id=candidate.candidate_id, kind=EXPLAINED, subject=candidate.candidate_id),
    ]


def explained(num: int) -> Population:
    rows = history(BASELINE, 0.5)
    for number in range(1, num):
        rows += history(make_candidate(number), 0.5 + number / 100)
    return Population(rows)


def test_the_same_seed_gives_the_same_brief(settings: Settings) -> None:
    population = explained(8)
    one, again = (told(brief_of(settings, population, 9, 0, None)) for _ in range(2))
    assert one == again
    assert len(one.parents) == 2
    assert (one.number, one.attempt, one.seed, one.slot) == (9, 0, 5, "token_mixer")


def test_seed_and_number_both_change_the_draw(settings: Settings) -> None:
    population = explained(8)
    other = dataclasses.replace(settings, seed=6)
    drawn = [told(brief_of(settings, population, number, 0, None)).parents for number in range(20, 40)]
    assert len(set(drawn)) > 5
    assert [brief_of(other, population, number, 0, None).parents for number in range(20, 40)] != drawn


def test_a_repair_keeps_arm_and_parents_and_hears_what_was_refused(settings: Settings) -> None:
    population = explained(8)
    first = brief_of(settings, population, 9, 0, None)
    refused = make_report(make_candidate(9), ReportKind.refused)
    population.add(refused)
    population.add(make_report(make_candidate(10), ReportKind.refused))
    second = brief_of(settings, population, 9, 1, None)
    assert (second.arm, second.parents, second.references) == (first.arm, first.parents, first.references)
    assert (first.refusals, second.refusals) == ((), (refused,))
    assert second.attempt == 1


def test_arms_are_drawn_by_their_weights(settings: Settings) -> None:
    arms = Counter(brief_of(settings, Population(), number, 0, None).arm for number in range(800))
    assert set(arms) == {"grammar", "random"}
    assert arms["grammar"] / 800 == pytest.approx(0.75, abs=0.05)


def test_an_arm_without_weight_is_never_drawn_and_weights_need_no_order(settings: Settings) -> None:
    only = dataclasses.replace(settings, arms=dataclasses.replace(settings.arms, weights={"grammar": 0, "random": 0.2}))
    assert {brief_of(only, Population(), number, 0, None).arm for number in range(50)} == {"random"}
    turned = dict(reversed(settings.arms.weights.items()))
    other = dataclasses.replace(settings, arms=dataclasses.replace(settings.arms, weights=turned))
    for number in range(50):
        assert told(brief_of(other, Population(), number, 0, None)) == told(
            brief_of(settings, Population(), number, 0, None)
        )


@pytest.fixture
def reading(settings: Settings) -> Settings:
    """Every arm is one that is told all there is."""
    return dataclasses.replace(settings, arms=ArmSettings(name="mine", weights={"mine": 1.0}))


def test_the_grammar_is_told_what_insights_come_to_and_none_of_them(settings: Settings) -> None:
    brief = brief_of(settings, explained(8), 9, 0, 3)
    assert brief.arm in ("grammar", "random")
    assert brief.insights == ()
    assert brief.effects is not None
    known = explained(8)
    change = {"change": "decay: none -> scalar", "against": "parent", "insight_id": "another"}
    known.add(dataclasses.replace(make_insight(make_candidate(2), BASELINE), **change))
    assert brief_of(settings, known, 9, 0, 3).effects != brief.effects
    assert brief_of(settings, known, 9, 0, 1).effects == brief_of(settings, explained(8), 9, 0, 1).effects


def test_a_horizon_hides_later_members_and_their_insights(reading: Settings) -> None:
    brief = brief_of(reading, explained(8), 9, 0, 3)
    assert [insight.number for insight in brief.insights] == [0, 1, 2, 3]
    assert {member.candidate.number for member in (*brief.parents, *brief.references)} <= {0, 1, 2, 3}
    assert told(brief) == told(brief_of(reading, explained(4), 9, 0, 3)), "whatever else has finished by then"
    everything = brief_of(reading, explained(8), 9, 0, None)
    assert [insight.number for insight in everything.insights] == list(range(8))


def test_insights_of_unexplained_candidates_are_not_told_yet(reading: Settings) -> None:
    population = explained(2)
    population.add(make_insight(make_candidate(5), BASELINE))
    assert [insight.number for insight in brief_of(reading, population, 9, 0, None).insights] == [0, 1]


def test_the_reference_has_only_the_trials_on_the_stages_seeds(settings: Settings) -> None:
    stage = settings.scale.stage("explore")
    population = Population(
        [
            BASELINE,
            make_report(BASELINE),
            make_trial(BASELINE, seed=1, loss=9.0),
            make_trial(BASELINE, seed=0, loss=2.5),
            make_trial(BASELINE, seed=0, loss=1.0, stage="verify"),
        ]
    )
    reference = reference_of(population, stage)
    assert reference.candidate == BASELINE
    assert [(trial.stage, trial.seed, trial.loss) for trial in reference.trials] == [("explore", 0, 2.5)]


REFUSED = dataclasses.replace(make_report(BASELINE, ReportKind.refused), detail="causality 0.2 over 1e-4")
FAILED = dataclasses.replace(make_trial(BASELINE, loss=None), detail="step 3: loss is NaN")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "the reference baseline number 0 has no result (never examined): nothing can be scored"),
        ([BASELINE], "the reference baseline mixer-0 has no result (never examined): nothing can be scored"),
        ([BASELINE, REFUSED], "mixer-0 has no result (causality 0.2 over 1e-4): nothing"),
        ([BASELINE, make_report(BASELINE), FAILED], "mixer-0 has no result (step 3: loss is NaN): nothing"),
        (
            [BASELINE, make_report(BASELINE), FAILED, make_trial(BASELINE, seed=1)],
            "mixer-0 has no result (step 3: loss is NaN): nothing",
        ),
    ],
)
def test_without_a_result_of_the_reference_the_error_says_why(
    settings: Settings, rows: list[Record], message: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        reference_of(Population(rows), settings.scale.stage("explore"))


def test_noise_is_pooled_over_the_founders_seeds_alone(settings: Settings) -> None:
    founders = [BASELINE, make_candidate(1, arm="baseline"), make_candidate(2, arm="baseline")]
    rows = [
        *history(founders[0], 0.5, losses=(2.0, 2.2)),
        *history(founders[1], 0.5, losses=(3.0, 3.1, 3.2)),
        *history(founders[2], 0.5, losses=(5.0,)),
        make_trial(founders[0], stage="verify", loss=9.0),
        *history(make_candidate(3), 0.5, losses=(1.0, 8.0)),
    ]
    context = context_of(Population(rows), make_candidate(4), settings.scale.stage("explore"), "tiny", 3, None)
    assert context.noise is not None
    assert context.noise.sigma == pytest.approx(((0.1**2 * 2 + 0.1**2 * 2) / 3) ** 0.5)
    assert context.noise.dof == 3


@pytest.mark.parametrize("losses", [(2.0,), (2.0, None), (2.0, 2.0)])
def test_without_repeated_or_differing_losses_there_is_no_noise(
    settings: Settings, losses: tuple[float | None, ...]
) -> None:
    trials = [make_trial(BASELINE, seed=seed, loss=loss) for seed, loss in enumerate(losses)]
    population = Population([BASELINE, make_report(BASELINE), *trials])
    assert context_of(population, make_candidate(4), settings.scale.stage("explore"), "tiny", 1, None).noise is None


def test_a_result_is_compared_with_parents_siblings_and_the_reference(settings: Settings) -> None:
    stage = settings.scale.stage("explore")
    parent, refused = make_candidate(1, parent=BASELINE), make_candidate(2)
    sibling, later, cousin = make_candidate(3, parent=parent), make_candidate(7, parent=parent), make_candidate(4)
    rows: list[Record] = [refused, make_report(refused, ReportKind.refused)]
    for candidate in (BASELINE, parent, sibling, later, cousin):
        rows += history(candidate, 0.5)
    child = dataclasses.replace(
        make_candidate(8, parent=parent), parent_ids=(parent.candidate_id, refused.candidate_id)
    )
    context = context_of(Population(rows), child, stage, "tiny", 1, 4)
    assert [member.candidate for member in context.parents] == [parent]
    assert [member.candidate for member in context.siblings] == [sibling]
    assert context.baseline is not None
    assert context.baseline.candidate == BASELINE
    orphan = context_of(Population(rows), make_candidate(9), stage, "tiny", 1, None)
    assert (orphan.parents, orphan.siblings) == ((), ())


def test_the_reference_is_not_compared_with_itself(settings: Settings) -> None:
    population = Population(history(BASELINE, 0.5, losses=(2.0, 2.2)))
    assert context_of(population, BASELINE, settings.scale.stage("explore"), "tiny", 1, None).baseline is None


def test_what_is_known_of_the_same_changes_comes_along_as_far_as_the_horizon_and_carried_over_always(
    settings: Settings,
) -> None:
    stage = settings.scale.stage("explore")
    change = make_candidate(9).changes[0]
    known = [
        with_pool(dataclasses.replace(insight(number, -0.05, change=text), scale="tiny", from_run=run), [])
        for number, text, run in ((1, change, ""), (5, change, ""), (2, "taps: 3 -> 5", ""), (99, change, "old"))
    ]
    population = Population([*history(BASELINE, 0.5, losses=(2.0, 2.2)), *known])
    for horizon, numbers in ((None, [1, 5, 99]), (4, [1, 99])):
        context = context_of(population, make_candidate(9), stage, "tiny", 1, horizon)
        assert sorted(found.number for found in context.earlier) == numbers
    assert context_of(population, make_candidate(9), stage, "cpu", 1, None).earlier == ()


def test_insights_that_were_carried_over_are_in_every_brief(reading: Settings) -> None:
    carried = dataclasses.replace(insight(40, -0.05), from_run="old")
    population = Population([*history(BASELINE, 0.5, losses=(2.0, 2.2)), carried, insight(7, -0.01)])
    found = brief_of(reading, population, 3, 0, 1).insights
    assert found[0] == carried
    assert {insight.number for insight in found[1:]} == {0}
