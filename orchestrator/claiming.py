"""What the trials at a stage above the first allow to say, and whom one more seed there may settle.

Read from the population. Here trials become differences, and what `cognition.statistics` decides becomes rows.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from agents.brief import Member
from cognition.records import Claim, FailureKind, Trial
from cognition.statistics import (
    MOST_POOLED,
    Against,
    Decision,
    Evidence,
    Pooled,
    Rival,
    decide,
    held,
    paired_noise,
    seeds_needed,
    wants_seed,
)
from models.scale import Stage
from orchestrator.charges import share_of
from orchestrator.config import Settings
from orchestrator.founders import BASELINE_ARM
from orchestrator.population import Population
from orchestrator.promotion import exploration_loss

Losses = dict[int, float]  # by seed


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What trials at a stage came to, of one candidate."""

    stamp: tuple[int, ...]  # trials that it was made of: the candidate's and each baseline's
    evidence: Evidence
    against: tuple[Against, ...]
    following: int | None  # the seed that it is given next


class Claiming:
    """Claims and further seeds of one campaign. Kept is a candidate's evidence, as long as no trial changes it."""

    def __init__(self, settings: Settings, population: Population) -> None:
        self._settings, self._population = settings, population
        self._ladder = settings.ladder
        self._places = self._ladder.places(len(settings.contestants))
        self._known: dict[tuple[str, str], _Known] = {}  # by candidate and stage

    def claims(self, stage: Stage, rivals: Sequence[Member]) -> Sequence[Claim]:
        """What may be claimed at a stage and is not in the rows yet.

        One result may change where others stand: whose state changes is claimed anew, as is who has more seeds.

        Args:
            stage: above the first.
            rivals: the baselines that climb to it.
        """
        everybody = {one.evidence.candidate_id: one for one in self._everybody(stage, rivals)}
        contestants = sum(not self._is_baseline(one) for one in self._population.at(stage.name))
        decisions = decide(
            [one.evidence for one in everybody.values()],
            num_planned=max(self._places[stage.name], contestants),
            known={candidate_id: one.against for candidate_id, one in everybody.items()},
        )
        found = []
        for candidate_id, decision in decisions.items():
            for against in decision.against:
                known = self._population.verified.claims.get((candidate_id, against.baseline_id, stage.name))
                if known is None or _is_news(known, decision, against):
                    found.append(self._claim(stage, everybody[candidate_id].evidence, decision, against))
        return found

    def seeds(self, stage: Stage, rivals: Sequence[Member]) -> Sequence[tuple[str, int]]:
        """Who is given one more seed, and which: candidates to whom it may settle something, and their baselines.

        Decided on each candidate's own results, so that the clock has no say in it. What was written down before
        stays.
        """
        found = dict.fromkeys(self._population.verified.seeded(stage.name))
        for one in self._everybody(stage, rivals):
            if one.following is not None:
                found |= dict.fromkeys((rival.candidate.candidate_id, one.following) for rival in rivals)
                found[one.evidence.candidate_id, one.following] = None
        return list(found)

    def _following(self, evidence: Evidence, stage: Stage, rivals: Sequence[Member]) -> int | None:
        """The seed that comes next for a candidate; None: none, or one is under way."""
        more = self._ladder.more_seeds(stage)
        given = [seed for seed in more if self._trial(evidence.candidate_id, stage, seed) is not None]
        left = more[len(given) :]
        open_still = any(self._trial(r.candidate.candidate_id, stage, seed) is None for r in rivals for seed in given)
        places = self._places[stage.name]
        if open_still or not wants_seed(evidence, num_places=places, num_left=len(left)):
            return None
        return left[0]

    def _everybody(self, stage: Stage, rivals: Sequence[Member]) -> Sequence[_Known]:
        """Those whose trials on the stage's seeds are in, once the baselines' are; who was stopped is left out."""
        if not rivals or any(
            len(self._population.trained(rival.candidate.candidate_id, stage)) < len(stage.seeds) for rival in rivals
        ):
            return ()
        num_trials = self._population.verified.num_trials
        theirs = [num_trials[rival.candidate.candidate_id, stage.name] for rival in rivals]
        found = []
        for candidate_id in self._population.at(stage.name):
            member = self._population.member(candidate_id)
            if member is None or member.verdict is None or member.candidate.arm == BASELINE_ARM:
                continue
            stamp = (num_trials[candidate_id, stage.name], *theirs)
            known = self._known.get((candidate_id, stage.name))
            if known is None or known.stamp != stamp:
                evidence = self._evidence_of(candidate_id, stage, rivals)
                if evidence is None:
                    continue
                following = self._following(evidence, stage, rivals)
                known = _Known(stamp=stamp, evidence=evidence, against=held(evidence), following=following)
                self._known[candidate_id, stage.name] = known
            found.append(known)
        return found

    def _evidence_of(self, candidate_id: str, stage: Stage, rivals: Sequence[Member]) -> Evidence | None:
        """None where it is not through with the stage's seeds, or no seed is common with any baseline."""
        trials = self._population.trained(candidate_id, stage)
        if len(trials) < len(stage.seeds) or any(map(stopped, trials)):  # who was stopped ran on its better seeds
            return None
        own = self._losses(candidate_id, stage)
        compared = []
        for rival in rivals:
            theirs = self._losses(rival.candidate.candidate_id, stage)
            differences = tuple(own[seed] - theirs[seed] for seed in own if seed in theirs)
            if differences:
                noise = self._lent(stage, [other for other in rivals if other is not rival])
                compared.append(Rival(baseline_id=rival.candidate.candidate_id, differences=differences, noise=noise))
        num_failed = sum(not trial.succeeded for trial in self._trials(candidate_id, stage))
        return Evidence(candidate_id=candidate_id, rivals=tuple(compared), num_failed=num_failed) if compared else None

    def _lent(self, stage: Stage, others: Sequence[Member]) -> Pooled | None:
        """The noise of a paired difference between two other baselines on the stage's first seeds, which depends on
        nothing that the candidate is compared by. It is all in before the first claim."""
        seeds = stage.seeds[: MOST_POOLED + 1]
        rows = []
        for other in sorted(others, key=lambda member: member.candidate.number):
            losses = self._losses(other.candidate.candidate_id, stage)
            if all(seed in losses for seed in seeds):
                rows.append([losses[seed] for seed in seeds])
        noise = paired_noise(rows[:2])
        return noise if noise is not None and noise.std > 0 else None

    def _claim(self, stage: Stage, evidence: Evidence, decision: Decision, against: Against) -> Claim:
        population, candidate_id = self._population, evidence.candidate_id
        own, theirs = self._losses(candidate_id, stage), self._losses(against.baseline_id, stage)
        ours = [own[seed] for seed in own if seed in theirs]
        rivals = [theirs[seed] for seed in own if seed in theirs]
        known = population.verified.claims.get((candidate_id, against.baseline_id, stage.name))
        member, rival = population.member(candidate_id), population.member(against.baseline_id)
        explored = exploration_loss(member) if member else None
        rival_explored = exploration_loss(rival) if rival else None
        promised = explored - rival_explored if explored is not None and rival_explored is not None else None
        difference = against.difference
        needed = None if decision.bound is None else seeds_needed(evidence, decision.bound)
        hours = self._hours(stage, evidence, needed)
        gpus = share_of(self._settings, stage.name).num_gpus
        return Claim(
            candidate_id=candidate_id,
            baseline_id=against.baseline_id,
            stage=stage.name,
            split=stage.split,
            num_seeds=difference.num,
            mean_loss=fmean(ours),
            std_loss=stdev(ours) if len(ours) > 1 else None,
            baseline_mean_loss=fmean(rivals),
            baseline_std_loss=stdev(rivals) if len(rivals) > 1 else None,
            difference=difference.mean,
            low=difference.low,
            high=difference.high,
            exploration_loss=explored,
            revision=known.revision + 1 if known else 1,
            state=decision.state,
            reason=decision.reason,
            e_value=against.e_value,
            deciding=against == decision.hardest,
            num_baselines=len(decision.against),
            num_tested=decision.num_tested,
            num_looks=population.verified.looks[stage.split],
            smallest_difference=against.smallest_effect,
            seeds_needed=needed,
            slot_hours_needed=hours,
            gpu_hours_needed=hours * gpus if hours is not None else None,
            promised=promised,
            gap=difference.mean - promised if promised is not None else None,
            created_at=time.time(),
        )

    def _hours(self, stage: Stage, evidence: Evidence, seeds: int | None) -> float | None:
        """Hours of slots for so many more seeds, those included that the baselines lack as well."""
        if seeds is None:
            return None
        num = len(self._trials(evidence.candidate_id, stage)) + seeds
        lacking = [max(0, num - len(self._trials(rival.baseline_id, stage))) for rival in evidence.rivals]
        each_s = self._population.tallies.mean_slot_s(stage.name) or stage.expected_s
        return (seeds + sum(lacking)) * each_s / 3600

    def _losses(self, candidate_id: str, stage: Stage) -> Losses:
        """By seed, in the order in which seeds are given."""
        return {trial.seed: trial.loss for trial in self._trials(candidate_id, stage) if trial.loss is not None}

    def _trials(self, candidate_id: str, stage: Stage) -> Sequence[Trial]:
        seeds = (*stage.seeds, *self._ladder.more_seeds(stage))
        found = (self._trial(candidate_id, stage, seed) for seed in seeds)
        return [trial for trial in found if trial is not None]

    def _trial(self, candidate_id: str, stage: Stage, seed: int) -> Trial | None:
        return self._population.trial(candidate_id, stage.name, seed)

    def _is_baseline(self, candidate_id: str) -> bool:
        candidate = self._population.candidate(candidate_id)
        return candidate is not None and candidate.arm == BASELINE_ARM


def stopped(trial: Trial) -> bool:
    """A stopping policy ended it."""
    return trial.failure is FailureKind.unpromising


def _is_news(known: Claim, decision: Decision, against: Against) -> bool:
    told = (known.num_seeds, known.state, known.deciding)
    return told != (against.difference.num, decision.state, against == decision.hardest)
