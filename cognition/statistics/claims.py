"""What may be said of candidates that were retrained beside the baselines, and who is given another seed.

A candidate is held against every baseline on the seeds that both were trained on. It has to beat all of them, so that
the least of its e-values speaks (intersection-union: whichever baseline it does not beat, the least e-value is at most
that one's, and nothing has to be corrected for their number). Over all candidates e-BH decides.

Pure functions of differences in loss, candidate minus baseline: negative is better.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cognition.kinds import ClaimState
from cognition.statistics.intervals import Difference, Pooled
from cognition.statistics.multiplicity import e_benjamini_hochberg
from cognition.statistics.sequential import e_value, further_needed, sequential_interval, smallest_effect

RATE = 0.05  # of false discoveries among the discoveries of a stage, and of intervals that miss
MOST_POOLED = 2  # degrees of freedom of the noise that others lend: more would harm where a candidate is noisier
HOPE = 2.0  # standard errors by which a difference may be better than it looks, where a seed is at stake


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """A baseline that a candidate was held against."""

    baseline_id: str
    differences: tuple[float, ...]  # nats per token, candidate minus baseline, seed by seed
    noise: Pooled | None = None  # of such a difference, from other baselines


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that speaks for or against one candidate at a stage."""

    candidate_id: str
    rivals: tuple[Rival, ...]  # at least one
    num_failed: int = 0  # of its trainings

    @property
    def num_seeds(self) -> int:
        return min(len(rival.differences) for rival in self.rivals)


@dataclass(frozen=True, slots=True, kw_only=True)
class Against:
    """A candidate against one baseline."""

    baseline_id: str
    difference: Difference  # with the interval that holds at every look
    e_value: float
    smallest_effect: float | None  # that so many seeds tell in four of five cases, were it tested alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Where a candidate stands, among all that were tested."""

    candidate_id: str
    state: ClaimState
    reason: str
    against: tuple[Against, ...]
    hardest: Against  # the baseline with the least evidence, which decides
    num_tested: int
    bound: float | None = None  # the e-value from which on it would be a discovery; None: settled


def alone(rate: float = RATE) -> float:
    """The e-value of a candidate that would be found were it the only one: its interval then lies below zero."""
    return 2 / rate


def held(evidence: Evidence, rate: float = RATE) -> tuple[Against, ...]:
    """The candidate against each of its baselines, the hardest to beat first."""
    found = []
    for rival in evidence.rivals:
        interval = sequential_interval(rival.differences, prior=rival.noise, confidence=1 - rate)
        dof = rival.noise.dof if rival.noise is not None else 0
        found.append(
            Against(
                baseline_id=rival.baseline_id,
                difference=interval,
                e_value=e_value(rival.differences, prior=rival.noise),
                smallest_effect=smallest_effect(interval.std, interval.num, alone(rate), prior_dof=dof)
                if interval.std
                else None,
            )
        )
    return tuple(sorted(found, key=lambda one: (one.e_value, -one.difference.mean)))


def decide(
    everybody: Sequence[Evidence],
    *,
    num_planned: int = 0,
    rate: float = RATE,
    known: Mapping[str, tuple[Against, ...]] | None = None,
) -> dict[str, Decision]:
    """Where each candidate stands, by its id.

    Args:
        everybody: all that were tested at the stage, whatever came of it.
        num_planned: how many are going to be tested; they count from the start.
        rate: the share of false discoveries that is promised.
        known: what `held` gave for some of them.
    """
    num_tested = max(num_planned, len(everybody))
    results = [(known or {}).get(one.candidate_id) or held(one, rate) for one in everybody]
    e_values = [0.0 if one.num_failed else found[0].e_value for one, found in zip(everybody, results, strict=True)]
    discovered = e_benjamini_hochberg(e_values, rate, num_tested=num_tested, least=alone(rate))
    bound = max(alone(rate), num_tested / (rate * (len(discovered) + 1)))
    decisions = {}
    for place, (one, found) in enumerate(zip(everybody, results, strict=True)):
        state, reason = _state(one, found, place in discovered, rate)
        open_still = state in (ClaimState.undecided, ClaimState.promising)
        decisions[one.candidate_id] = Decision(
            candidate_id=one.candidate_id,
            state=state,
            reason=reason,
            against=found,
            hardest=found[0],
            num_tested=num_tested,
            bound=bound if open_still else None,
        )
    return decisions


def seeds_needed(evidence: Evidence, bound: float, hope: float = 0.0) -> int | None:
    """How many more seeds bring every e-value to the bound, if the differences stay as they are.

    `hope`: if each is better by so many standard errors.
    """
    needs = [further_needed(one.differences, bound, prior=one.noise, hope=hope) for one in evidence.rivals]
    known = [need for need in needs if need is not None]
    return max(known) if len(known) == len(needs) else None


def wants_seed(evidence: Evidence, *, num_places: int, num_left: int, rate: float = RATE) -> bool:
    """Whether one more seed is worth its price: it may still become a discovery within those that are left.

    That is, if its differences are better than they look by two standard errors.

    Asked for are this candidate's results alone, and how many places the stage has: when others end changes nothing.

    Args:
        evidence: so far.
        num_places: candidates that the stage is made for.
        num_left: seeds that may still be given.
        rate: the share of false discoveries that is promised.
    """
    if num_left < 1 or evidence.num_failed:
        return False
    bound = max(alone(rate), num_places / rate)
    if all(e_value(one.differences, prior=one.noise) >= bound for one in evidence.rivals):
        return False
    need = seeds_needed(evidence, bound, HOPE)
    return need is not None and need <= num_left


def _state(evidence: Evidence, against: Sequence[Against], discovered: bool, rate: float) -> tuple[ClaimState, str]:
    if evidence.num_failed:
        return ClaimState.rejected, f"its training failed on {evidence.num_failed} seeds"
    if discovered:
        return ClaimState.discovery, "better than every baseline, all that were tested counted"
    if any(one.difference.low is not None and one.difference.low > 0 for one in against):
        return ClaimState.rejected, "worse than a baseline"
    if max(one.difference.mean for one in against) >= 0:
        return ClaimState.rejected, "no better than every baseline on its seeds"
    if against[0].e_value >= alone(rate):
        return ClaimState.promising, "better than every baseline were it the only one tested"
    if any(one.difference.high is None for one in against):
        return ClaimState.undecided, "too few seeds to tell any difference"
    return ClaimState.undecided, "the interval holds zero"
