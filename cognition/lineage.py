"""Family relations of candidates in memory; the SQL view `lineage` says the same of a whole campaign."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from cognition.records import Candidate


def ancestors(candidates: Iterable[Candidate], candidate_id: str) -> tuple[Candidate, ...]:
    """The first parent, its first parent and so on to the founder; empty for a founder.

    The line ends where a parent is not among `candidates`, and at a parent that was met before.

    Raises:
        ValueError: `candidate_id` is not among `candidates`.
    """
    known = {candidate.candidate_id: candidate for candidate in candidates}
    if candidate_id not in known:
        raise ValueError(f"candidate {candidate_id!r} is not among the {len(known)} given; hand over its row as well")
    line: list[Candidate] = []
    met = {candidate_id}
    current = known[candidate_id]
    while current.parent_ids and current.parent_ids[0] in known and current.parent_ids[0] not in met:
        current = known[current.parent_ids[0]]
        met.add(current.candidate_id)
        line.append(current)
    return tuple(line)


def diff_to_parent(candidate: Candidate, parent: Candidate, *, context_lines: int = 3) -> str:
    """The unified diff from the parent's source to the candidate's; empty where they are equal."""
    lines = difflib.unified_diff(
        parent.source.splitlines(),
        candidate.source.splitlines(),
        fromfile=f"{parent.name} ({parent.candidate_id})",
        tofile=f"{candidate.name} ({candidate.candidate_id})",
        n=context_lines,
        lineterm="",
    )
    return "".join(f"{line}\n" for line in lines)
