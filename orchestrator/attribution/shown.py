"""What the parts are worth, on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cognition.records import Ablation, Candidate, PartFinding
from orchestrator.wording import short

_WORDS = {
    PartFinding.helps: "it helps",
    PartFinding.hurts: "it hurts",
    PartFinding.not_needed: "not needed",
    PartFinding.unclear: "cannot be told",
    PartFinding.failed: "no result without it",
}


def show(console: Console, candidate: Candidate, rows: Sequence[Ablation]) -> None:
    """Effects by size, what cannot be told at this budget, and whether a simpler design takes the title."""
    title = f"Parts of candidate {candidate.number} ({short(candidate.name, 60)}) at {rows[0].stage}"
    table = Table(title=Text(title), title_justify="left")
    for column in ("change", "seeds", "loss without - with [95%, all together]", "finding"):
        table.add_column(column, justify="right" if column in ("seeds",) else "left")
    for row in sorted(rows, key=lambda row: -(row.effect if row.effect is not None else float("inf"))):
        table.add_row(Text(short(row.change, 60)), str(row.num_seeds), Text(interval(row)), Text(finding(row)))
    console.print(table)
    for line in conclusions(candidate, rows):
        console.print(line, markup=False)


def conclusions(candidate: Candidate, rows: Sequence[Ablation]) -> list[str]:
    """In sentences: what matters, what cannot be told, and the simpler design."""
    lines = []
    helping = [row for row in rows if row.finding is PartFinding.helps and len(row.parts) == 1]
    if helping:
        lines.append(f"matters: {'; '.join(f'{_parts(row)} ({interval(row)})' for row in helping)}")
    unclear = [row for row in rows if row.finding is PartFinding.unclear and len(row.parts) == 1]
    if unclear:
        most = max((row.seeds_needed or 0 for row in unclear), default=0)
        remedy = f": about {most} seeds in all might tell (--seeds {most})" if most else ": more seeds are needed"
        lines.append(f"cannot be told at this budget: {', '.join(_parts(row) for row in unclear)}{remedy}")
    for row in rows:
        if len(row.parts) > 1 and not row.simplified:
            told = interval(row) if row.effect is not None else row.detail
            lines.append(f"without {_parts(row)} all at once it is not surely as good ({told})")
    simpler = next((row for row in rows if row.simplified), None)
    if simpler is None:
        lines.append("nothing can be left out for certain: the design keeps its title")
    else:
        lines.append(
            f"simpler: {simpler.change} costs {interval(simpler)} nats per token, surely less than "
            f"{simpler.tolerance:.4f}: candidate {candidate.number} without {_parts(simpler)} takes the title "
            f"({simpler.variant_id} in {simpler.run})"
        )
    return lines


def interval(row: Ablation) -> str:
    """The effect with its interval."""
    if row.effect is None:
        return "-"
    if row.low is None or row.high is None:
        return f"{row.effect:+.4f} (no interval)"
    return f"{row.effect:+.4f} [{row.low:+.4f}, {row.high:+.4f}]"


def finding(row: Ablation) -> str:
    """In words, with what is needed to know more."""
    words = _WORDS[row.finding]
    if row.finding is PartFinding.failed:
        return f"{words}: {short(row.detail, 50)}"
    return f"{words} (about {row.seeds_needed} seeds might)" if row.seeds_needed else words


def _parts(row: Ablation) -> str:
    return ", ".join(row.parts)
