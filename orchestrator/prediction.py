"""Whether one stage predicts the next, in a line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cognition.records import RankCorrelation

_ENOUGH = 5  # pairs, before a stage is called out
_WEAK = 0.5  # below it a stage is no guide to the next


def latest(found: Iterable[RankCorrelation]) -> Sequence[RankCorrelation]:
    """Of each pair of stages the one over the most candidates."""
    best: dict[tuple[str, str], RankCorrelation] = {}
    for one in found:
        known = best.get((one.lower, one.upper))
        if known is None or known.num_pairs < one.num_pairs:
            best[one.lower, one.upper] = one
    return tuple(best.values())


def correlation_line(found: RankCorrelation) -> str:
    """The correlation with its interval, and what follows for the lower stage."""
    known = found.low is not None and found.high is not None
    interval = f"[{found.low:+.2f}, {found.high:+.2f}]" if known else "(no interval yet)"
    told = f"{found.lower} to {found.upper}: rho {found.rho:+.2f} {interval} over {found.num_pairs} candidates"
    return f"{told}{called_out(found)}"


def called_out(found: RankCorrelation) -> str:
    """What has to be said of the lower stage; nothing where it predicts, or where there is too little to tell."""
    if found.num_pairs < _ENOUGH or found.low is None or found.high is None:
        return ""
    if found.high < _WEAK:
        return f": {found.lower} does not predict {found.upper}"
    return f": {found.lower} is not shown to predict {found.upper} yet" if found.low <= 0 <= found.high else ""
