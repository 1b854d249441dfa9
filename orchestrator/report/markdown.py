"""The report as Markdown: the answer first, then tables; several campaigns beside each other."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.report.cells import grid, number, share, text
from orchestrator.report.figures import DISCOVERY, Figures
from orchestrator.report.sections import SECTIONS, claim_line


def report_of(figures: Figures) -> str:
    """One campaign."""
    parts = [f"# {text(figures['campaign']['name'])}: what was found\n", answer(figures)]
    parts += [f"## {title}\n\n{body}" for title, make in SECTIONS if (body := make(figures))]
    return "\n".join(parts)


def comparison_of(several: Sequence[Figures]) -> str:
    """Campaigns beside each other: what each found for what it took. Their own reports follow."""
    rows = []
    for figures in several:
        claims = figures["claims"]
        rows.append(
            [
                text(figures["run"]),
                str(sum(arm["num"] for arm in figures["arms"])),
                number(sum(row["slot_hours"] or 0 for row in figures["spend"]), 3),
                number(figures["best_loss"]),
                str(sum(claim["state"] == DISCOVERY for claim in claims)),
                share(sum(arm["num_hits"] for arm in figures["arms"]), sum(arm["num"] for arm in figures["arms"])),
                claim_line(claims[0]) if claims else "nothing verified",
            ]
        )
    heads = [
        "run",
        "candidates",
        "slot-hours",
        "best loss",
        "discoveries",
        "below the best baseline, one seed",
        "best claim",
    ]
    together = grid(heads, rows)
    told = ["# Campaigns beside each other\n", together, *same_conditions(several)]
    return "\n".join([*told, *(report_of(figures) for figures in several)])


def same_conditions(several: Sequence[Figures]) -> list[str]:
    """A warning for each thing in which they differ, so that their figures do not compare."""
    told = []
    kinds = {
        "slot": "slots",
        "data": "texts",
        "scale": "scales",
        "stages": "sizes, tokens or seeds",
        "founders": "founders",
    }
    for key, words in kinds.items():
        if len({repr(figures[key]) for figures in several}) > 1:
            told.append(f"**They differ in {words}: losses do not compare.**\n")
    if len({repr(figures["budget"]) for figures in several}) > 1:
        told.append("**Their budgets differ.**\n")
    return told


def answer(figures: Figures) -> str:
    """What came out, in a sentence or two, with its uncertainty."""
    claims = figures["claims"]
    found = [claim for claim in claims if claim["state"] == DISCOVERY]
    if found:
        told = f"**{len(found)} {'discovery' if len(found) == 1 else 'discoveries'}.** {claim_line(found[0])}."
    elif claims:
        told = f"**No discovery.** The most that was verified: {claim_line(claims[0])}."
        if claims[0].get("seeds_needed"):
            told += (
                f" About {claims[0]['seeds_needed']} more seeds would settle it, if the difference stays what it is."
            )
    else:
        told = "**Nothing was verified** on fresh seeds, so that nothing is claimed."
    state = "" if figures["finished"] else " The campaign is not finished."
    return f"{told}{state}\n"
