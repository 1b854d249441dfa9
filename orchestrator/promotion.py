"""Who climbs to the next stage. Pure functions."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from agents.brief import Member
from orchestrator.founders import BASELINE_ARM
from orchestrator.stages import StageSettings


def exploration_loss(member: Member) -> float | None:
    """The loss that the Judge saw."""
    return member.verdict.loss if member.verdict else None


def best_baselines(members: Sequence[Member]) -> Sequence[Member]:
    """The trained baselines by their exploration loss, the lowest first: what a discovery has to beat."""
    rivals = [m for m in members if m.candidate.arm == BASELINE_ARM and exploration_loss(m) is not None]
    return sorted(rivals, key=lambda m: (exploration_loss(m) or 0.0, m.candidate.number))


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrant:
    """One place of a stage, and whether nothing more happens to it there."""

    number: int  # of the campaign; among equal scores the earlier one comes first
    candidate_id: str = ""  # empty where there is nobody to climb
    ended: bool = False
    score: float | None = None  # higher is better; None: no result, or one that is not believed


def earned(
    entrants: Sequence[Entrant], rule: StageSettings, *, num_planned: int, complete: bool, in_order: bool
) -> Sequence[str]:
    """Who has earned the next stage, in the order in which they did.

    Once `rule.after` of those expected have ended, whoever is then among the best climbs, so that with every further
    end somebody may follow: in all a few more than there are places. When everybody has ended, the best have climbed.

    Args:
        entrants: who is at this stage, ended or not.
        rule: the next stage's.
        num_planned: how many are expected at this stage in the end; more may come.
        complete: nobody else comes.
        in_order: decide as if they had ended one after another in the order given, on those before each: whoever
            climbs then depends on results alone. Otherwise once, on all that have ended.
    """
    contest = Contest(rule, num_planned=num_planned, num_entrants=len(entrants), complete=complete, in_order=in_order)
    for entrant in takewhile(_has_ended, entrants) if in_order else filter(_has_ended, entrants):
        contest.end(entrant)
    return contest.earned()


class Contest:
    """`earned`, kept up as one after another ends: another end costs the same after ten as after ten thousand."""

    def __init__(
        self, rule: StageSettings, *, num_planned: int, num_entrants: int, complete: bool, in_order: bool
    ) -> None:
        self._rule, self._in_order = rule, in_order
        self._num_planned, self._num_entrants, self._complete = num_planned, num_entrants, complete
        self._num = 0  # that have ended
        self._ranked: list[Entrant] = []
        self._found: dict[str, None] = {}  # in order: who has earned it so far
        self._num_best = 0  # of `_ranked`, that `_earned` or `_found` holds
        self._earned: tuple[str, ...] = ()

    @property
    def over(self) -> bool:
        """Everybody who is there has ended."""
        return self._num == self._num_entrants

    def end(self, entrant: Entrant) -> None:
        """One more has ended; where the order counts, in order."""
        self._num += 1
        place = len(self._ranked)
        if entrant.score is not None:
            place = bisect(self._ranked, _rank(entrant), key=_rank)
            self._ranked.insert(place, entrant)
        if self._in_order:
            self._look(place, max(self._num_planned, self._num))
        elif place < self._num_best:
            self._num_best = -1  # another one is among the best

    def earned(self) -> Sequence[str]:
        """Who has earned the next stage; the same tuple as long as nothing changed."""
        if not self._in_order:
            self._look(len(self._ranked), max(self._num_planned, self._num_entrants))
        return self._earned

    def _look(self, place: int, num_expected: int) -> None:
        """Take in who is among the best; `place`: of the last that was ranked."""
        num_best = self._rule.places(num_expected) if self._num >= self._rule.after * num_expected else 0
        if self._complete and self.over:
            num_best = max(num_best, self._rule.places(self._num))
        num_best = min(num_best, len(self._ranked))
        if num_best == self._num_best and place >= num_best:
            return
        self._num_best = num_best
        best = dict.fromkeys(one.candidate_id for one in self._ranked[:num_best])
        if self._in_order:
            self._found.update(best)
        self._earned = tuple(self._found if self._in_order else best)


def _has_ended(entrant: Entrant) -> bool:
    return entrant.ended


def _rank(entrant: Entrant) -> tuple[float, int]:
    assert entrant.score is not None
    return -entrant.score, entrant.number
