"""What is kept up row by row says the same as walking through all rows: the plain ways stand here."""

from __future__ import annotations

import dataclasses
from bisect import insort
from collections.abc import Sequence
from itertools import takewhile

import numpy as np
import pytest

from agents.brief import Member
from agents.grammar.learning import LearningSettings, mutation_weights
from agents.grammar.spaces import space_of
from cognition.insights import with_pool
from cognition.records import ChargeOutcome, Event, Insight, Record, ReportKind
from orchestrator.climbing import Climbing
from orchestrator.config import Settings, compose, settings_from
from orchestrator.language_steps import rounds_due
from orchestrator.learned import MOST_STUDIES, Learned
from orchestrator.population import EXPLAINED, Population
from orchestrator.promotion import Contest, Entrant, earned
from orchestrator.selection import Selection, SelectionSettings, parent_weights, ranked, rule_of, scored
from orchestrator.stages import StageSettings
from tests.cognition.factories import make_candidate, make_charge, make_insight, make_report, make_trial, make_verdict

# ---- promotion ------------------------------------------------------------------------------------------------------


def earned_plainly(
    entrants: Sequence[Entrant], rule: StageSettings, *, num_planned: int, complete: bool, in_order: bool
) -> tuple[str, ...]:
    ended = list(takewhile(lambda one: one.ended, entrants) if in_order else [one for one in entrants if one.ended])
    ranking: list[Entrant] = []
    found: dict[str, None] = {}
    for num, entrant in enumerate(ended, start=1):
        if entrant.score is not None:
            insort(ranking, entrant, key=lambda one: (-(one.score or 0.0), one.number))
        if not in_order and num < len(ended):
            continue
        num_expected = max(num_planned, num if in_order else len(entrants))
        num_best = rule.places(num_expected) if num >= rule.after * num_expected else 0
        if complete and num == len(entrants):
            num_best = max(num_best, rule.places(num))
        found.update(dict.fromkeys(one.candidate_id for one in ranking[:num_best]))
    return tuple(found)


@pytest.mark.parametrize("in_order", [True, False])
def test_who_has_earned_a_stage_is_the_same_end_by_end(in_order: bool) -> None:
    rng = np.random.default_rng(3)
    for _ in range(200):
        num = int(rng.integers(0, 25))
        share = float(rng.choice([0.1, 0.3])) if rng.random() < 0.5 else None
        after = float(rng.choice([0.2, 0.5, 0.8, 1.0]))
        rule = StageSettings(pool="verify", best=None if share else int(rng.integers(0, 5)), share=share, after=after)
        scores = [None if rng.random() < 0.2 else float(rng.integers(0, 6)) for _ in range(num)]
        planned, complete = int(rng.integers(0, num + 4)), bool(rng.random() < 0.5)
        told = {"num_planned": planned, "complete": complete, "in_order": in_order}
        contest = Contest(rule, num_entrants=num, **told)  # type: ignore[arg-type]
        ended: set[int] = set()
        order = range(num) if in_order else rng.permutation(num).tolist()
        for place in order:
            ended.add(place)
            contest.end(Entrant(number=place, candidate_id=f"c{place}", ended=True, score=scores[place]))
            entrants = [
                Entrant(number=n, candidate_id=f"c{n}", ended=n in ended, score=scores[n] if n in ended else None)
                for n in range(num)
            ]
            expected = earned_plainly(entrants, rule, **told)  # type: ignore[arg-type]
            assert tuple(contest.earned()) == expected
            assert tuple(earned(entrants, rule, **told)) == expected  # type: ignore[arg-type]
            assert contest.earned() is contest.earned(), "as long as nobody ends, nothing is made anew"


# ---- climbing -------------------------------------------------------------------------------------------------------

NUM_FOUNDERS, NUM = 2, 24


def config(*overrides: str) -> Settings:
    few = ("campaign.founders=[delta_net,linear_attention]", f"budget.candidates={NUM}")
    ladder = ("+stages.sift.best=6", "+stages.sift.after=0.5", "stages.verify.best=2")
    return settings_from(compose(["+campaign=linear_attn", "scale=tiny_ladder", *few, *ladder, *overrides]))


def explored(number: int, fitness: float | None, loss: float) -> list[Record]:
    candidate = make_candidate(number, arm="baseline" if number < NUM_FOUNDERS else "grammar")
    judged = None if fitness is None else loss
    return [
        candidate,
        make_report(candidate),
        make_trial(candidate, loss=judged),
        make_verdict(candidate, fitness, loss=judged),
        Event(event_id=f"e{number}", kind=EXPLAINED, subject=candidate.candidate_id),
    ]


@pytest.mark.parametrize("overrides", [(), ("deterministic=true",)])
def test_who_climbs_is_the_same_whether_kept_up_or_read_from_all_rows(overrides: tuple[str, ...]) -> None:
    settings = config(*overrides)
    for seed in range(6):
        rng = np.random.default_rng(seed)
        population = Population(first_stage="explore")
        kept, told = Climbing(settings, population), set[object]()
        unclosed = set(range(NUM_FOUNDERS + NUM))
        climbing: list[tuple[str, str]] = []
        for number in rng.permutation(NUM_FOUNDERS + NUM).tolist():
            fitness = None if rng.random() < 0.2 else float(rng.random())
            for row in explored(number, fitness if number >= NUM_FOUNDERS else 0.5, 2.0 + float(rng.random())):
                population.add(row)
            unclosed.discard(number)
            kept.close(number)
            if climbing and rng.random() < 0.5:
                candidate_id, name = climbing.pop(0)
                member = population.candidate(candidate_id)
                assert member is not None
                for trial_seed in settings.scale.stage(name).seeds:
                    population.add(make_trial(member, stage=name, seed=trial_seed, loss=2.0 + float(rng.random())))
            news = kept.news()
            assert not told & set(news), "everybody once"
            told |= set(news)
            plainly = Climbing(settings, population).climbs(unclosed)
            assert set(plainly) <= told
            for climb in news:
                assert climb in plainly
                population.add(
                    Event(
                        event_id=f"{climb.candidate_id}-{climb.stage}",
                        kind="climbed",
                        subject=climb.candidate_id,
                        detail=climb.stage,
                    )
                )
                climbing.append((climb.candidate_id, climb.stage))
        assert told


# ---- selection ------------------------------------------------------------------------------------------------------


def drawn(members: Sequence[Member], rng: np.random.Generator, num: int, weights: object = None) -> tuple[Member, ...]:
    num = min(num, len(members))
    if num <= 0:
        return ()
    shares = None if weights is None else weights / weights.sum()  # type: ignore[attr-defined]
    return tuple(members[int(index)] for index in rng.choice(len(members), size=num, replace=False, p=shares))


def picked_plainly(settings: SelectionSettings, population: Sequence[Member], rng: np.random.Generator) -> Selection:
    if settings.rule == "two_tier":
        members = sorted(population, key=lambda member: member.candidate.number)
        settled = len(members) // settings.refresh_every * settings.refresh_every
        pool = ranked(members[:settled] if settled else members)[: settings.pool_size]
        best, rest = pool[: settings.num_best], pool[settings.num_best :]
        parents = drawn(best, rng, 2)
        return Selection(parents=parents, references=drawn(rest, rng, settings.num_references))
    members = scored(population)
    if settings.rule == "uniform":
        parents = drawn(members, rng, 2)
        others = [member for member in members if member not in parents]
        return Selection(parents=parents, references=drawn(others, rng, settings.num_references))
    parents = drawn(members, rng, 2, parent_weights(members))
    others = [member for member in ranked(members) if member not in parents]
    return Selection(parents=parents, references=tuple(others[: settings.num_references]))


@pytest.mark.parametrize("rule", ["two_tier", "mad_sigmoid", "uniform"])
def test_selection_picks_the_same_from_columns_as_from_members(rule: str) -> None:
    settings = SelectionSettings(rule=rule, num_best=4, pool_size=9, refresh_every=3)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        population, members = Population(), list[Member]()
        for number in rng.permutation(int(rng.integers(1, 40))).tolist():
            fitness = None if rng.random() < 0.2 else float(rng.integers(0, 8)) / 8
            parent = make_candidate(int(rng.integers(0, 40)))
            candidate = dataclasses.replace(make_candidate(number), parent_ids=(parent.candidate_id,))
            for row in explored(number, fitness, 2.5):
                population.add(candidate if row == make_candidate(number) else row)
            population.finished()  # looked at in between
        members = list(population.finished())
        assert [m.candidate.number for m in members] == sorted(m.candidate.number for m in members)
        for horizon in (None, 10):
            seen = [m for m in members if horizon is None or m.candidate.number <= horizon]
            known = population.finished(horizon)
            assert list(known) == seen
            expected = picked_plainly(settings, seen, np.random.default_rng(seed))
            assert rule_of(settings).pick(known, np.random.default_rng(seed), 2) == expected
            assert rule_of(settings).pick(seen, np.random.default_rng(seed), 2) == expected


def test_members_are_read_like_a_list() -> None:
    population = Population(row for number in (3, 0, 2, 1) for row in explored(number, 0.5, 2.5))
    members = population.finished()
    assert (len(members), members[0].candidate.number, members[-1].candidate.number) == (4, 0, 3)
    assert [member.candidate.number for member in members[1:3]] == [1, 2]
    assert [member.candidate.number for member in population.finished(1)[-5:]] == [0, 1]
    assert (members.num_from(2), list(members.numbers_from(2))) == (2, [2, 3])
    with pytest.raises(IndexError):
        members[4]


# ---- what was learned -----------------------------------------------------------------------------------------------


def lesson(number: int, rng: np.random.Generator, run: str = "") -> list[Insight]:
    domains = space_of("token_mixer").domains
    candidate, parent = make_candidate(number), make_candidate(number + 1000)
    names = rng.choice(sorted(domains), size=int(rng.integers(1, 3)), replace=False)
    found = []
    for place, name in enumerate(names):
        new = domains[str(name)][int(rng.integers(len(domains[str(name)])))]
        effect, width = float(rng.normal(0, 0.05)), float(rng.uniform(0.01, 0.1))
        found.append(
            dataclasses.replace(
                make_insight(candidate, parent),
                insight_id=f"{run}{number}-{place}",
                change=f"{name}: something -> {str(new).lower() if isinstance(new, bool) else new}",
                against="parent",
                effect=effect,
                low=effect - width,
                high=effect + width,
                from_run=run,
            )
        )
    return found


def test_mutation_weights_from_effects_are_those_from_the_insights_to_the_last_bit() -> None:
    space, learning = space_of("token_mixer"), LearningSettings()
    rng = np.random.default_rng(4)
    learned = Learned()
    carried = [insight for number in range(5) for insight in lesson(number, rng, run="old")]
    for insight in carried:
        learned.add(insight)
    by_number = {number: lesson(number, rng) for number in range(100, 160)}
    for count, number in enumerate(rng.permutation(sorted(by_number)).tolist()):
        for insight in by_number[number]:
            learned.add(insight)
        learned.explained(make_candidate(number).candidate_id)
        if count % 7 == 0:
            learned.effects(learning.prior_sd)
    for horizon in (None, 159, 120, 100, 50):
        told = [*carried]
        told += [one for n, found in sorted(by_number.items()) for one in found if horizon is None or n <= horizon]
        assert [one.insight_id for one in learned.told(horizon)[len(carried) :]] == [
            one.insight_id for one in told[len(carried) :]
        ]
        expected = mutation_weights(space, learned.told(horizon), learning)
        effects = learned.effects(learning.prior_sd, horizon)
        assert mutation_weights(space, (), learning, effects) == expected


def test_what_is_pooled_with_a_new_result_is_bounded_and_the_latest() -> None:
    learned, change = Learned(), make_candidate(0).changes[0]
    parent = make_candidate(5000)
    for number in range(MOST_STUDIES + 20):
        insight = dataclasses.replace(
            make_insight(make_candidate(number), parent), insight_id=str(number), change=change, against="parent"
        )
        learned.add(with_pool(insight, ()))
    subject = learned.all[0].subject
    assert sorted(one.number for one in learned.on([subject])) == list(range(20, MOST_STUDIES + 20))
    assert sorted(one.number for one in learned.on([subject], horizon=9)) == list(range(10))
    assert learned.on(["another"]) == []


def test_syntheses_come_at_a_fixed_distance_and_later_with_each_eighth_more() -> None:
    assert [rounds_due(num, 8) for num in (0, 7, 8, 16, 511, 512)] == [0, 0, 1, 2, 63, 64]
    assert rounds_due(575, 8) == 64
    assert rounds_due(576, 8) == 65
    assert rounds_due(100_000, 8) < 64 + 50
    due = [rounds_due(num, 8) for num in range(20_000)]
    assert due == sorted(due)


# ---- sums -----------------------------------------------------------------------------------------------------------


def test_tallies_are_the_sums_over_all_rows() -> None:
    rng, population = np.random.default_rng(5), Population()
    charges, slots = [], []
    for number in range(60):
        candidate = make_candidate(number)
        population.add(candidate)
        refused = bool(rng.random() < 0.3)
        population.add(make_report(candidate, ReportKind.refused if refused else ReportKind.passed))
        if refused:
            mended = dataclasses.replace(make_candidate(1000 + number), number=number, attempt=1)
            population.add(dataclasses.replace(make_report(mended), attempt=1, number=number))
        loss, slot_s = (None if rng.random() < 0.3 else 2.5), float(rng.random())
        population.add(make_trial(candidate, loss=loss, slot_s=slot_s))
        slots += [slot_s] if loss is not None else []
        charge = make_charge(candidate, slot_s=slot_s, num_gpus=2.0, started_at=float(rng.integers(0, 100)))
        charges.append(charge)
        population.add(charge)
    tallies = population.tallies
    assert tallies.num_trials["explore"] == 60
    assert tallies.num_finished == len(slots)
    assert tallies.failures.total() == 60 - len(slots)
    assert tallies.mean_slot_s("explore") == pytest.approx(sum(slots) / len(slots))
    assert tallies.mean_slot_s("verify") is None
    assert tallies.slot_s == pytest.approx(sum(charge.slot_s for charge in charges))
    assert tallies.gpu_s == pytest.approx(sum(charge.gpu_s for charge in charges))
    assert tallies.num_refusals == len(population.refusals())
    assert tallies.num_refused == 0, "all of them were mended"
    late = {charge.charge_id for charge in charges if charge.finished_at > 50}
    assert {charge.charge_id for charge in tallies.charges_after(50.0)} == late
    assert all(charge.outcome is ChargeOutcome.finished for charge in tallies.charges_after(0.0))
