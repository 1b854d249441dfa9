"""How far everybody has climbed, read from the rows, and what the trials at a stage allow to say.

What was decided is written ahead as an event, so that a campaign which is started again, or with a larger budget,
finishes what it had begun. In deterministic mode the decisions themselves come from results alone, in order of
number, and events add nothing to them.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from agents.brief import Member
from cognition.records import Claim, RankCorrelation
from cognition.statistics import rank_correlation
from models.scale import Stage
from orchestrator.claiming import Claiming, stopped
from orchestrator.config import Settings
from orchestrator.founders import BASELINE_ARM
from orchestrator.population import Population
from orchestrator.promotion import Contest, Entrant, best_baselines, earned

_FEWEST_PAIRS = 3  # two are always in the same order or the opposite one


@dataclass(frozen=True, slots=True, kw_only=True)
class Climb:
    """One candidate at one stage above the first: all the stage's seeds, or one more."""

    candidate_id: str
    stage: str
    seed: int | None = None  # None: all the stage's


class Climbing:
    """Who climbs where, in one campaign. Every answer is read from the population.

    Kept is how the first stage stands, so that one more end is looked at and not all that were before it.
    """

    def __init__(self, settings: Settings, population: Population, closed: Iterable[int] = ()) -> None:
        """`closed`: numbers to which nothing more happens; later ones are told by `close`."""
        self._settings, self._population = settings, population
        self._ladder, self._contestants = settings.ladder, settings.contestants
        self._claiming = Claiming(settings, population)
        self._closed: set[int] = set()
        self._num_in_order = 0  # of the contestants, those that were looked at, where the order counts
        self._own = frozenset(self._contestants)
        self._first: Contest | None = None
        if self._ladder.climbs:
            self._first = Contest(
                self._ladder.rule(self._ladder.climbs[0][1]),
                num_planned=len(self._contestants),
                num_entrants=len(self._contestants),
                complete=True,
                in_order=settings.deterministic,
            )
        self._told: set[Climb] = set()
        self._seen: tuple[object, ...] | None = None  # what the latest answer was read from
        for number in sorted(closed):
            self.close(number)

    def close(self, number: int) -> None:
        """Nothing more happens to this number."""
        if number in self._closed:
            return
        self._closed.add(number)
        if self._first is None:
            return
        if not self._settings.deterministic:
            if number in self._own:
                self._first.end(self._explored(number))
            return
        while self._num_in_order < len(self._contestants):
            following = self._contestants[self._num_in_order]
            if following not in self._closed:
                return
            self._num_in_order += 1
            self._first.end(self._explored(following))

    def news(self) -> Sequence[Climb]:
        """Who has climbed or has earned it by now and was not told before, in the order of `climbs`."""
        if self._first is None or not (baselines := self._baselines(self._closed)):
            return ()
        earned, over = self._first.earned(), self._first.over
        seen = (earned, over, self._population.num_above)
        if self._seen is not None and all(map(_same, seen, self._seen)):
            return ()
        upper = [climb for _, climb in self._ladder.climbs]
        judged = all(self._is_judged(one) for stage in upper for one in self._population.at(stage.name))
        self._seen = seen if judged else None  # whose rows were lost may be judged again at any time
        found = [climb for climb in self._climbs(baselines, earned, over) if climb not in self._told]
        self._told.update(found)
        return found

    def climbs(self, unclosed: Collection[int]) -> Sequence[Climb]:
        """All that have climbed or have earned it, from the lowest stage to the highest, the baseline to beat first.

        Nobody climbs without a baseline to beat, which is known when nothing more happens to any founder. Behind those
        of a stage come the further seeds that are given there.

        Args:
            unclosed: the numbers to which something may still happen.
        """
        num = len(self._settings.campaign.founders) + self._settings.budget.candidates
        anew = Climbing(self._settings, self._population, set(range(num)).difference(unclosed))
        return list(anew.news()) if anew._baselines(anew._closed) else ()

    def _climbs(self, baselines: Sequence[Member], up: Sequence[str], complete: bool) -> Sequence[Climb]:
        """All that have climbed or have earned it; `up`: who has earned the second stage, and is everybody in."""
        num_planned, found, in_order = len(self._contestants), list[Climb](), self._settings.deterministic
        entrants: Sequence[Entrant] = ()
        for step, (_, upper) in enumerate(self._ladder.climbs):
            rule = self._ladder.rule(upper)
            if step:
                up = earned(entrants, rule, num_planned=num_planned, complete=complete, in_order=in_order)
                complete = complete and all(entrant.ended for entrant in entrants)
            num_planned = rule.places(num_planned)
            everybody = self._with_earlier(up, upper)
            if num_planned:
                rivals = self._rivals(upper, baselines)
                everybody = dict.fromkeys((*(rival.candidate.candidate_id for rival in rivals), *everybody))
            found += [Climb(candidate_id=candidate_id, stage=upper.name) for candidate_id in everybody]
            if num_planned and self._ladder.rule(upper).more_seeds:
                more = self._claiming.seeds(upper, rivals)
                found += [Climb(candidate_id=one, stage=upper.name, seed=seed) for one, seed in more]
            rising = up if in_order else everybody
            entrants = [self._trained(one, upper) for one in rising if not self._is_baseline(one)]
        return found

    def concluded(self) -> bool:
        """Every trial that these climbs ask for is in the store, and every claim that the trials allow."""
        for climb in self.climbs(unclosed=()):
            stage, candidate_id = self._settings.scale.stage(climb.stage), climb.candidate_id
            if climb.seed is not None:
                if self._population.trial(candidate_id, stage.name, climb.seed) is None:
                    return False
            elif not self._through(candidate_id, stage):
                return False
        return not any(self.claims(upper) for _, upper in self._ladder.climbs)

    def claims(self, stage: Stage) -> Sequence[Claim]:
        """What may be claimed at a stage and is not yet, once all founders have ended: `Claiming.claims`."""
        return self._claiming.claims(stage, self._rivals(stage, self._baselines()))

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

    def _baselines(self, closed: Collection[int] | None = None) -> Sequence[Member]:
        """The baselines to beat, the best first; none while a founder is not closed. Without `closed` all are."""
        founders = range(len(self._settings.campaign.founders))
        if closed is not None and not all(number in closed for number in founders):
            return ()
        found = (self._population.last_attempt(number)[0] for number in founders)
        members = (self._population.member(one.candidate_id) for one in found if one is not None)
        return best_baselines([member for member in members if member is not None])

    def _rivals(self, stage: Stage, baselines: Sequence[Member]) -> Sequence[Member]:
        """Those of the baselines that climb to a stage."""
        return baselines[: self._ladder.rule(stage).baselines]

    def _explored(self, number: int) -> Entrant:
        """What came of a closed number."""
        candidate, _ = self._population.last_attempt(number)
        if candidate is None or candidate.number != number:  # an exact duplicate is another's candidate
            return Entrant(number=number, ended=True)
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
        return len(trials) == len(stage.seeds) or any(map(stopped, trials))

    def _with_earlier(self, earned_now: Sequence[str], stage: Stage) -> dict[str, None]:
        return dict.fromkeys(chain(earned_now, filter(self._is_judged, self._population.at(stage.name))))

    def _is_judged(self, candidate_id: str) -> bool:
        """Not so where rows were lost: then it is examined and judged again, and climbs after that."""
        member = self._population.member(candidate_id)
        return member is not None and member.verdict is not None

    def _is_baseline(self, candidate_id: str) -> bool:
        candidate = self._population.candidate(candidate_id)
        return candidate is not None and candidate.arm == BASELINE_ARM


def _same(one: object, other: object) -> bool:
    """The very same tuple, or an equal figure."""
    return one is other if isinstance(one, tuple) else one == other
