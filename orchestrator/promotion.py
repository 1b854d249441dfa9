"""Who climbs to verification, and what may be claimed afterwards. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev

from agents.brief import Member
from cognition.records import Claim, Trial
from cognition.statistics import paired_difference
from models.scale import Stage
from orchestrator.founders import BASELINE_ARM
from orchestrator.population import Population


def exploration_loss(member: Member) -> float | None:
    """The loss that the Judge saw."""
    return member.verdict.loss if member.verdict else None


def best_baseline(members: Sequence[Member]) -> Member | None:
    """The baseline with the lowest exploration loss: the one that a discovery has to beat."""
    rivals = [m for m in members if m.candidate.arm == BASELINE_ARM and exploration_loss(m) is not None]
    return min(rivals, key=lambda m: (exploration_loss(m) or 0.0, m.candidate.number), default=None)


def climbers(members: Sequence[Member], num: int) -> Sequence[Member]:
    """The candidates with the highest fitness; earlier ones first among equals."""
    scored = [
        (m.verdict.fitness, m)
        for m in members
        if m.candidate.arm != BASELINE_ARM and m.verdict is not None and m.verdict.fitness is not None
    ]
    ranked = sorted(scored, key=lambda pair: (-pair[0], pair[1].candidate.number))
    return [member for _, member in ranked[:num]]


def contenders(members: Sequence[Member], num: int) -> tuple[Member | None, Sequence[Member]]:
    """The best baseline and those who climb beside it; nobody climbs without a baseline to beat."""
    rival = best_baseline(members)
    return (rival, climbers(members, num)) if rival is not None else (None, ())


def claims_of(
    member: Member, trials: Sequence[Trial], rival: Member, rival_trials: Sequence[Trial], now: float = 0.0
) -> Sequence[Claim]:
    """The paired comparison on the seeds that both finished; none where there is no such seed."""
    losses = {t.seed: t.loss for t in trials if t.succeeded and t.loss is not None}
    rival_losses = {t.seed: t.loss for t in rival_trials if t.succeeded and t.loss is not None}
    seeds = sorted(losses.keys() & rival_losses.keys())
    if not seeds:
        return ()
    ours, theirs = [losses[seed] for seed in seeds], [rival_losses[seed] for seed in seeds]
    paired = paired_difference(ours, theirs)
    return (
        Claim(
            candidate_id=member.candidate.candidate_id,
            baseline_id=rival.candidate.candidate_id,
            stage=trials[0].stage,
            split=trials[0].split,
            num_seeds=len(seeds),
            mean_loss=fmean(ours),
            std_loss=stdev(ours) if len(seeds) > 1 else None,
            baseline_mean_loss=fmean(theirs),
            baseline_std_loss=stdev(theirs) if len(seeds) > 1 else None,
            difference=paired.mean,
            low=paired.low,
            high=paired.high,
            exploration_loss=exploration_loss(member),
            created_at=now,
        ),
    )


def verified(population: Population, stage: Stage, num: int) -> bool:
    """Every trial that verification asks for is in the store, and every claim that these trials allow."""
    rival, best = contenders(population.finished(), num)
    if rival is None or not best:
        return True
    trials = {
        member.candidate.candidate_id: [
            population.trial(member.candidate.candidate_id, stage.name, s) for s in stage.seeds
        ]
        for member in (rival, *best)
    }
    if any(trial is None for found in trials.values() for trial in found):
        return False
    claimed = {claim.candidate_id for claim in population.claims if claim.stage == stage.name}
    rivals = [trial for trial in trials[rival.candidate.candidate_id] if trial is not None]
    for member in best:
        own = [trial for trial in trials[member.candidate.candidate_id] if trial is not None]
        if claims_of(member, own, rival, rivals) and member.candidate.candidate_id not in claimed:
            return False
    return True
