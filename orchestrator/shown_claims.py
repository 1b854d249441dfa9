"""Claims and noise in words: the terminal, the status and the end of a campaign say the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from cognition.records import Candidate, Claim, ClaimState, NoiseLevel
from cognition.statistics import RATE
from orchestrator.burn import figure
from orchestrator.wording import short, spoken

STATES = (ClaimState.discovery, ClaimState.promising, ClaimState.undecided, ClaimState.rejected)


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """Of a candidate what it is called by."""

    number: int
    name: str


Names = Mapping[str, Named]  # by candidate_id


def names_of(candidates: Iterable[Candidate]) -> Names:
    """What candidates are called by."""
    return {one.candidate_id: Named(number=one.number, name=one.name) for one in candidates}


def standing(claims: Iterable[Claim]) -> Sequence[Claim]:
    """Of each candidate at each stage the claim against the baseline that decides; best state, then evidence first."""
    found: dict[tuple[str, str], Claim] = {}
    for claim in claims:
        key = (claim.candidate_id, claim.stage)
        if key not in found or (claim.deciding and not found[key].deciding):
            found[key] = claim
    return sorted(found.values(), key=lambda one: (STATES.index(one.state), -one.e_value, one.difference))


def claims_table(claims: Sequence[Claim], names: Names) -> Table:
    """The claims of one stage, of `standing`."""
    title = f"{claims[0].stage.capitalize()} (fresh seeds, {spoken(claims[0].split)} data)"
    table = Table(title=title, title_justify="left")
    for column in ("#", "candidate", "state", "seeds", "loss", "baseline", "difference [95% interval]", "e-value"):
        table.add_column(column, justify="left" if column in ("candidate", "state") else "right")
    for claim in claims:
        candidate = names.get(claim.candidate_id)
        table.add_row(
            str(candidate.number) if candidate else "",
            Text(short(candidate.name, 48) if candidate else claim.candidate_id),
            claim.state.value,
            str(claim.num_seeds),
            spread(claim.mean_loss, claim.std_loss),
            spread(claim.baseline_mean_loss, claim.baseline_std_loss),
            interval(claim),
            f"{claim.e_value:.3g}",
        )
    return table


def answer(claims: Sequence[Claim], names: Names) -> str:
    """The first of a stage's claims in full, and how many are in which state; claims of `standing`."""
    best = claims[0]
    rival = names.get(best.baseline_id)
    lines = [
        f"Best at {best.stage}: candidate {_named(best, names)}, {best.state.value} ({best.reason}): "
        f"{spoken(best.split)} loss {spread(best.mean_loss, best.std_loss)} over {best.num_seeds} seeds; difference to "
        f"{_rivals(best, short(rival.name) if rival else best.baseline_id)}: {interval(best)} nats per token",
        f"States: {counts(claims)}; among discoveries at most {RATE:.0%} are false on average, all {best.num_tested} "
        f"tested counted. {spoken(best.split).capitalize()} data was looked at {best.num_looks} times (docs/claims.md)",
    ]
    if (needs := needed(best)) is not None:
        lines.append(f"It {needs}")
    if best.promised is not None and best.gap is not None:
        lines.append(
            f"Exploration had promised {best.promised:+.4f}; verified on fresh seeds it is {abs(best.gap):.4f} "
            f"{'worse' if best.gap > 0 else 'better'} than that (winner's curse)"
        )
    return "\n".join(lines)


def claim_line(claim: Claim, names: Names) -> str:
    """One claim in a line."""
    more = f"; {needs}" if (needs := needed(claim)) is not None else ""
    return (
        f"{claim.stage}: {claim.state.value:<10} {_named(claim, names)}  {interval(claim)} over {claim.num_seeds} "
        f"seeds, {claim.reason}{more}"
    )


def needed(claim: Claim) -> str | None:
    """What would settle a claim; None where it is settled."""
    if claim.state not in (ClaimState.undecided, ClaimState.promising):
        return None
    if claim.seeds_needed is None or claim.slot_hours_needed is None:
        return "needs more seeds than can be reckoned" if claim.num_seeds < 2 else "needs over 1,000 more seeds"
    hours = (
        f"{figure(claim.gpu_hours_needed)} GPU-hours"
        if claim.gpu_hours_needed
        else f"{figure(claim.slot_hours_needed)} slot-hours"
    )
    return (
        f"needs about {claim.seeds_needed} more seeds, {hours}, if the difference stays "
        f"(raise stages.{claim.stage}.more_seeds by as many)"
    )


def counts(claims: Iterable[Claim]) -> str:
    """How many are in which state."""
    num = Counter(claim.state for claim in claims)
    return ", ".join(f"{num[state]} {state.value}" for state in STATES)


def noise_line(level: NoiseLevel) -> str:
    """The noise of a figure at a stage, and what it leaves to be told."""
    told = f"{level.stage} {level.metric}: sigma {level.sigma:.4f} of a paired difference (dof {level.dof})"
    return f"{told}; {smallest_in_words(level.stage_seeds, level.smallest_difference)}"


def smallest_in_words(num_seeds: int, smallest: float | None) -> str:
    """What so many seeds can tell."""
    seeds = "1 seed tells" if num_seeds == 1 else f"{num_seeds} seeds tell"
    return f"{seeds} no difference" if smallest is None else f"{seeds} differences from {smallest:.4f} on"


def interval(claim: Claim) -> str:
    """The difference with its interval, where there is one."""
    if claim.low is None or claim.high is None:
        return f"{claim.difference:+.4f} (too few seeds for an interval)"
    return f"{claim.difference:+.4f} [{claim.low:+.4f}, {claim.high:+.4f}]"


def spread(mean: float, std: float | None) -> str:
    """A mean with the standard deviation over seeds, where there is one."""
    return f"{mean:.4f} ± {std:.4f}" if std is not None else f"{mean:.4f}"


def _named(claim: Claim, names: Names) -> str:
    candidate = names.get(claim.candidate_id)
    return f"{candidate.number} ({short(candidate.name)})" if candidate else claim.candidate_id


def _rivals(claim: Claim, name: str) -> str:
    return (
        f"the best baseline {name}"
        if claim.num_baselines == 1
        else f"{name}, the hardest of {claim.num_baselines} baselines"
    )
