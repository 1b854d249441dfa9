"""How far everybody has climbed, read from the rows, and what the trials at a stage allow to say.

What was decided is written ahead as an event, so that a campaign which is started again, or with a larger budget,
finishes what it had begun. In deterministic mode the decisions themselves come from results alone, in order of
number, and events add nothing to them.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import chain

from agents.brief import Member
from cognition.records import Claim, FailureKind, RankCorrelation, Trial
from cognition.statistics import rank_correlation
from models.scale import Stage
from orchestrator.config import Settings
from orchestrator.founders import BASELINE_ARM
from orchestrator.population import Population
from orchestrator.promotion import Entrant, best_baseline, claims_of, earned

_FEWEST_PAIRS = 3  # two are always in the same order or the opposite one


@dataclass(frozen=True, slots=True, kw_only=True)
class Climb:
    """One candidate at one stage above the first."""

    candidate_id: str
    stage: str


class Climbing:
    """Who climbs where, in one campaign. Keeps nothing: every answer is read from the population."""

    def __init__(self, settings: Settings, population: Population) -> None:
        self._settings, self._population = settings, population
        self._ladder, self._contestants = settings.ladder, settings.contestants

    def climbs(self, unclosed: Collection[int]) -> Sequence[Climb]:
        """All that have climbed or have earned it, from the lowest stage to the highest, the baseline to beat first.

        Nobody climbs without a baseline to beat, which is known when nothing more happens to any founder.

        Args:
            unclosed: the numbers to which something may still happen.
        """
        rival, open_numbers = self._rival(unclosed), set(unclosed)
        if rival is None:
            return ()
        entrants: Sequence[Entrant] = [self._explored(number, number in open_numbers) for number in self._contestants]
        num_planned, complete, found = len(entrants), True, list[Climb]()
        for _, upper in self._ladder.climbs:
            rule = self._ladder.rule(upper)
            in_order = self._settings.deterministic
            up = earned(entrants, rule, num_planned=num_planned, complete=complete, in_order=in_order)
            complete = complete and all(entrant.ended for entrant in entrants)
            num_planned = rule.places(num_planned)
            everybody = self._with_earlier(up, upper)
            if num_planned:
                everybody = dict.fromkeys((rival.candidate.candidate_id, *everybody))
            found += [Climb(candidate_id=candidate_id, stage=upper.name) for candidate_id in everybody]
            rising = up if in_order else everybody
            entrants = [self._trained(one, upper) for one in rising if not self._is_baseline(one)]
        return found

    def concluded(self) -> bool:
        """Every trial that these climbs ask for is in the store, and every claim that the trials allow."""
        for climb in self.climbs(unclosed=()):
            if not self._through(climb.candidate_id, self._settings.scale.stage(climb.stage)):
                return False
        return not any(self.claims(upper) for _, upper in self._ladder.climbs)

    def claims(self, stage: Stage, unclosed: Collection[int] = ()) -> Sequence[Claim]:
        """What may be claimed at a stage and is not yet: of those whose trials are in, once the baseline's are."""
        rival = self._rival(unclosed)
        if rival is None:
            return ()
        rivals = self._population.trained(rival.candidate.candidate_id, stage)
        if len(rivals) < len(stage.seeds):
            return ()
        known = {(claim.candidate_id, claim.baseline_id, claim.stage) for claim in self._population.claims}
        found: list[Claim] = []
        for candidate_id in self._population.at(stage.name):
            member = self._population.member(candidate_id)
            trials = self._population.trained(candidate_id, stage)
            if member is None or member.verdict is None or member.candidate.arm == BASELINE_ARM:
                continue
            if len(trials) < len(stage.seeds) or any(map(_stopped, trials)):  # who was stopped ran on its better seeds
                continue
            claims = claims_of(member, trials, rival, rivals, time.time())
            found += [claim for claim in claims if (claim.candidate_id, claim.baseline_id, stage.name) not in known]
        return found

    def correlations(self, stage: Stage) -> Sequence[RankCorrelation]:
        """What a result at a stage adds to how its neighbours rank: nothing where no pair was added."""
        known = {(one.lower, one.upper, one.num_pairs) for one in self._population.correlations}
        found = []
        for lower, upper in self._ladder.climbs:
            if stage not in (lower, upper):
                continue
            losses = [
                (self._population.loss(one, lower), self._population.loss(one, upper))
                for one in self._population.at(upper.name)
            ]
            pairs = [(low, up) for low, up in losses if low is not None and up is not None]
            if len(pairs) < _FEWEST_PAIRS or (lower.name, upper.name, len(pairs)) in known:
                continue
            measured = rank_correlation([low for low, _ in pairs], [up for _, up in pairs])
            if measured is None:
                continue
            found.append(
                RankCorrelation(
                    scale=self._settings.scale.name,
                    lower=lower.name,
                    upper=upper.name,
                    num_pairs=measured.num,
                    rho=measured.rho,
                    low=measured.low,
                    high=measured.high,
                    created_at=time.time(),
                )
            )
        return found

    def _rival(self, unclosed: Collection[int]) -> Member | None:
        founders = range(len(self._settings.campaign.founders))
        if not set(founders).isdisjoint(unclosed):
            return None
        found = (self._population.last_attempt(number)[0] for number in founders)
        members = (self._population.member(one.candidate_id) for one in found if one is not None)
        return best_baseline([member for member in members if member is not None])

    def _explored(self, number: int, still_open: bool) -> Entrant:
        candidate, _ = self._population.last_attempt(number)
        if still_open or candidate is None or candidate.number != number:  # an exact duplicate is another's candidate
            return Entrant(number=number, ended=not still_open)
        verdict = self._population.verdict(candidate.candidate_id)
        return Entrant(
            number=number,
            candidate_id=candidate.candidate_id,
            ended=True,
            score=verdict.fitness if verdict is not None else None,
        )

    def _trained(self, candidate_id: str, stage: Stage) -> Entrant:
        candidate = self._population.candidate(candidate_id)
        loss = self._population.loss(candidate_id, stage)
        return Entrant(
            number=candidate.number if candidate is not None else 0,
            candidate_id=candidate_id,
            ended=self._through(candidate_id, stage),
            score=None if loss is None else -loss,
        )

    def _through(self, candidate_id: str, stage: Stage) -> bool:
        """It was trained on all seeds of the stage, or stopped on one."""
        trials = self._population.trained(candidate_id, stage)
        return len(trials) == len(stage.seeds) or any(map(_stopped, trials))

    def _with_earlier(self, earned_now: Sequence[str], stage: Stage) -> dict[str, None]:
        return dict.fromkeys(chain(earned_now, filter(self._is_judged, self._population.at(stage.name))))

    def _is_judged(self, candidate_id: str) -> bool:
        """Not so where rows were lost: then it is examined and judged again, and climbs after that."""
        member = self._population.member(candidate_id)
        return member is not None and member.verdict is not None

    def _is_baseline(self, candidate_id: str) -> bool:
        candidate = self._population.candidate(candidate_id)
        return candidate is not None and candidate.arm == BASELINE_ARM


def _stopped(trial: Trial) -> bool:
    return trial.failure is FailureKind.unpromising
