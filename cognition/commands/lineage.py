"""`python -m cognition lineage`: where a candidate comes from, what it changed, and whose ideas are in it."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence

from cognition.lineage import changed_components, diff_to_parent, path_to, siblings
from cognition.printable import one_line, printable, shown
from cognition.reader import Reader
from cognition.records import Candidate, Origin, Verdict

HELP = "show a candidate's path from its founder, its siblings, what it changed, and where its elements come from"
_USAGE = 2
_MOST_SIBLINGS = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be said on the command line."""
    parser.add_argument("candidate", nargs="?", help="its number, NUMBER.ATTEMPT or id; the champion unless given")
    parser.add_argument(
        "--run", required=True, metavar="FOLDER", help="the run's folder, runs/<name>, or its URI", dest="folder"
    )
    parser.add_argument("--diff", action="store_true", help="with the unified diff to the parent")


def run(options: argparse.Namespace) -> int:
    """Prints it; 0, or 2 with one line on stderr."""
    try:
        reader = Reader(options.folder)
        candidates = reader.rows(Candidate)
        verdicts = {verdict.candidate_id: verdict for verdict in reader.rows(Verdict)}
        chosen = _chosen(options.candidate, candidates, verdicts)
        origins = [origin for origin in reader.rows(Origin) if origin.candidate_id == chosen.candidate_id]
    except (ValueError, OSError) as error:
        print(f"error: {one_line(str(error))}", file=sys.stderr)
        return _USAGE
    for line in _told(chosen, candidates, verdicts, origins, diff=options.diff):
        print(printable(line))  # rows hold what candidates wrote: it may not drive the terminal
    sys.stdout.flush()
    return 0


def _chosen(asked: str | None, candidates: Sequence[Candidate], verdicts: Mapping[str, Verdict]) -> Candidate:
    """The candidate of a number (its last attempt), of a number and attempt, or of an id; else the fittest.

    Raises:
        ValueError: there is no such candidate, or none has a fitness yet.
    """
    if asked is None:
        judged = [(v.fitness, c) for c in candidates if (v := verdicts.get(c.candidate_id)) and v.fitness is not None]
        if not judged:
            raise ValueError("no candidate has a fitness yet: name one by its number or id")
        return max(judged, key=lambda pair: (pair[0], -pair[1].number))[1]
    found = [c for c in candidates if asked in (c.candidate_id, str(c.number), f"{c.number}.{c.attempt}")]
    if not found:
        most = max((c.number for c in candidates), default=0)
        raise ValueError(f"no candidate {shown(asked)}: use a number up to {most}, NUMBER.ATTEMPT, or an id")
    return max(found, key=lambda candidate: candidate.attempt)


def _told(
    chosen: Candidate,
    candidates: Sequence[Candidate],
    verdicts: Mapping[str, Verdict],
    origins: Sequence[Origin],
    *,
    diff: bool,
) -> list[str]:
    path = path_to(candidates, chosen.candidate_id)
    lines = ["path"]
    lines += [f"{'  ' * depth}{_line(candidate, verdicts)}" for depth, candidate in enumerate(path, start=1)]
    found = siblings(candidates, chosen.candidate_id)
    if found:
        times = Counter(sibling.number for sibling in found)
        lines.append("siblings")
        lines += [f"  {_line(one, verdicts, attempt=times[one.number] > 1)}" for one in found[:_MOST_SIBLINGS]]
        lines += [f"  and {len(found) - _MOST_SIBLINGS} more"] * (len(found) > _MOST_SIBLINGS)
    if chosen.changes:
        lines += ["changes, as its author names them", *(f"  {one_line(change)}" for change in chosen.changes)]
    if len(path) > 1:
        lines.append("components, compared with the parent's")
        components = changed_components(chosen, path[-2])
        lines += [f"  {part.change:8} {one_line(part.name)} ({part.num_lines} lines)" for part in components]
    if origins:
        lines += ["where its elements come from", *(f"  {_origin(origin)}" for origin in origins)]
    if diff and len(path) > 1:
        lines += ["", *diff_to_parent(chosen, path[-2]).splitlines()]
    return lines


def _line(candidate: Candidate, verdicts: Mapping[str, Verdict], *, attempt: bool = False) -> str:
    verdict = verdicts.get(candidate.candidate_id)
    scored = "no score"
    if verdict is not None and verdict.fitness is not None and verdict.loss is not None:
        scored = f"fitness {verdict.fitness:.3f}, loss {verdict.loss:.4f}"
    number = f"{candidate.number}.{candidate.attempt}" if attempt else f"{candidate.number}"
    return one_line(f"{number} {candidate.name} ({candidate.arm}; {scored}) {candidate.candidate_id}")


def _origin(origin: Origin) -> str:
    said = f"{origin.declared or 'nothing'} {origin.declared_id}".strip()
    seen = f"{origin.matched} {origin.matched_id}".strip()
    return one_line(f"{origin.element}: declared {said}; matched {seen} ({origin.similarity:.2f})")
