"""Family relations of candidates in memory; the SQL view `lineage` says the same of a whole campaign."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cognition.records import Candidate, normalised_source


def ancestors(candidates: Iterable[Candidate], candidate_id: str) -> tuple[Candidate, ...]:
    """The first parent, its first parent and so on to the founder; empty for a founder.

    The line ends where a parent is not among `candidates`, and at a parent that was met before.

    Raises:
        ValueError: `candidate_id` is not among `candidates`.
    """
    known = {candidate.candidate_id: candidate for candidate in candidates}
    line: list[Candidate] = []
    met = {candidate_id}
    current = _known(known, candidate_id)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """A part of a source that differs from the parent's: a class, a method, a function, an import, an assignment."""

    name: str  # "TokenMixer.forward", "import torch"
    change: str  # "added", "removed", "changed"
    num_lines: int  # of the new part, of the old one where it was removed


def siblings(candidates: Iterable[Candidate], candidate_id: str) -> tuple[Candidate, ...]:
    """Other children of the first parent, repairs of the same number left out, by number.

    Raises:
        ValueError: `candidate_id` is not among `candidates`.
    """
    known = {candidate.candidate_id: candidate for candidate in candidates}
    own = _known(known, candidate_id)
    found = [
        candidate
        for candidate in known.values()
        if own.parent_ids and candidate.parent_ids[:1] == own.parent_ids[:1] and candidate.number != own.number
    ]
    return tuple(sorted(found, key=lambda candidate: (candidate.number, candidate.attempt)))


def path_to(candidates: Iterable[Candidate], candidate_id: str) -> tuple[Candidate, ...]:
    """From the founder to a candidate, the champion for example, along first parents."""
    rows = tuple(candidates)
    own = _known({candidate.candidate_id: candidate for candidate in rows}, candidate_id)
    return (*reversed(ancestors(rows, candidate_id)), own)


def changed_components(candidate: Candidate, parent: Candidate) -> tuple[Component, ...]:
    """What a source adds to its parent's, takes away and changes, by component; layout and comments do not count.

    A source that does not parse counts as one component.
    """
    old, new = _components(parent.source), _components(candidate.source)
    found = []
    for name in dict.fromkeys((*new, *old)):
        before, after = old.get(name), new.get(name)
        if before is None and after is not None:
            found.append(Component(name=name, change="added", num_lines=len(after.splitlines())))
        elif after is None and before is not None:
            found.append(Component(name=name, change="removed", num_lines=len(before.splitlines())))
        elif before is not None and after is not None and normalised_source(before) != normalised_source(after):
            found.append(Component(name=name, change="changed", num_lines=len(after.splitlines())))
    return tuple(found)


def _known(known: Mapping[str, Candidate], candidate_id: str) -> Candidate:
    if candidate_id not in known:
        raise ValueError(f"candidate {candidate_id!r} is not among the {len(known)} given; hand over its row as well")
    return known[candidate_id]


def _components(source: str) -> dict[str, str]:
    """Source text of every component, by its name."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {"the whole text": source}
    found: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            methods = [item for item in node.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)]
            found |= {f"{node.name}.{method.name}": _text(source, method) for method in methods}
            rest = [item for item in node.body if item not in methods]
            bases = ", ".join(ast.unparse(base) for base in node.bases)
            found[node.name] = "\n".join((f"class {node.name}({bases}):", *(_text(source, item) for item in rest)))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found[node.name] = _text(source, node)
        elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):  # a docstring
            text = _text(source, node)
            found[text.splitlines()[0][:80] if text else type(node).__name__] = text
    return found


def _text(source: str, node: ast.AST) -> str:
    return ast.get_source_segment(source, node, padded=False) or ""
