"""What a design consists of, taken apart: variants that lack one part, or have the parent's in its place.

Two kinds of candidates can be taken apart without anybody's judgement. The grammar's are genomes: each field that
differs from the parent's takes the parent's value. Sources may declare their parts, as the slot's contract says:

    PARTS = ("short_fir", "long_fir")       # a literal tuple of names at the module's top
    class TokenMixer(nn.Module):
        def __init__(self, ..., without=(), **kwargs): ...   # builds and uses nothing of the parts named there

A variant is then the same text with another default. Nothing is executed here: declarations are read from the syntax
tree.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from agents.grammar.genes import text_of
from agents.grammar.spaces import space_of
from cognition.records import Candidate, candidate_id_of

DECLARATION, KEYWORD = "PARTS", "without"
REMOVED, SWAPPED = "removed", "swapped"
_MOST_PARTS = 32


class NothingToTakeApart(ValueError):
    """A candidate has no parts that could be told; the message says what would have to be there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A design without some parts of another one."""

    parts: tuple[str, ...]  # declared names, or fields of the genome
    kind: str  # REMOVED, or SWAPPED for the parent's
    change: str  # in words: "without long_fir", "long_taps: 31 -> 0"
    source: str
    genome: str | None = None

    @property
    def name(self) -> str:
        """Fit for a file."""
        word = "without" if self.kind == REMOVED else "swapped"
        return (
            f"{word}_{'_'.join(self.parts)}" if len(self.parts) == 1 else f"{word}_{candidate_id_of(self.source)[:8]}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """A candidate, and what its parts are exchanged for.

    Raises:
        NothingToTakeApart: there is neither a declaration nor a genome with one to hold it against, or nothing differs.
    """

    candidate: Candidate
    entry: str  # class of the slot that its source defines
    against: str | None = None  # the genome, as JSON, whose values take the place of those that differ

    def __post_init__(self) -> None:
        told = f"candidate {self.candidate.number} ({self.candidate.name})"
        if declared_parts(self.candidate.source) and _default_of(self.candidate.source, self.entry) is None:
            raise NothingToTakeApart(f"{told} declares {DECLARATION}, and its {self.entry} takes no `{KEYWORD}=()`")
        if not self.parts:
            if self.candidate.genome is not None and self.against is not None:
                raise NothingToTakeApart(f"{told} does not differ from what it is held against")
            raise NothingToTakeApart(
                f"{told} declares no parts, and was not written by the grammar: let its source have "
                f"{DECLARATION} = (...) and take `{KEYWORD}`, as the slot's contract says"
            )

    @property
    def parts(self) -> tuple[str, ...]:
        """Names, in the order of their declaration."""
        if declared := declared_parts(self.candidate.source):
            return declared
        if self.candidate.genome is None or self.against is None:
            return ()
        space = space_of(self.candidate.slot)
        changes = space.changes_between(space.from_json(self.against), space.from_json(self.candidate.genome))
        return tuple(change.partition(":")[0] for change in changes)

    def variants(self) -> tuple[Variant, ...]:
        """One for each part; of two that come to the same design, as fields that depend on each other do, the first."""
        unlike: dict[str, Variant] = {}
        for part in self.parts:
            variant = self.without([part])
            if variant.source != self.candidate.source:
                unlike.setdefault(variant.source, variant)
        return tuple(unlike.values())

    def without(self, parts: Sequence[str]) -> Variant:
        """The design without all of these parts. Raises ValueError for one that it does not have."""
        if unknown := [part for part in parts if part not in self.parts]:
            raise ValueError(f"there is no part {unknown[0]!r}; there are {', '.join(self.parts)}")
        if declared_parts(self.candidate.source):
            source = _with_default(self.candidate.source, self.entry, parts)
            return Variant(parts=tuple(parts), kind=REMOVED, change=f"without {', '.join(parts)}", source=source)
        space = space_of(self.candidate.slot)
        own, other = space.from_json(str(self.candidate.genome)), space.from_json(str(self.against))
        values: dict[str, Any] = {part: getattr(other, part) for part in parts}
        changed = space.canonical(replace(own, **values))
        return Variant(
            parts=tuple(parts),
            kind=SWAPPED,
            change="; ".join(f"{part}: {text_of(getattr(own, part))} -> {text_of(values[part])}" for part in parts),
            source=space.render(changed),
            genome=space.to_json(changed),
        )


def _default_of(source: str, entry: str) -> ast.expr | None:
    """The default of the entry's argument `without`."""
    classes = [one for one in ast.parse(source).body if isinstance(one, ast.ClassDef) and one.name == entry]
    functions = [one for found in classes for one in found.body if isinstance(one, ast.FunctionDef)]
    for function in functions:
        if function.name == "__init__":
            told = function.args
            positional = [*told.posonlyargs, *told.args]
            named = [*zip(positional[len(positional) - len(told.defaults) :], told.defaults, strict=True)]
            known = {
                argument.arg: default
                for argument, default in (*named, *zip(told.kwonlyargs, told.kw_defaults, strict=True))
            }
            return known.get(KEYWORD)
    return None


def _with_default(source: str, entry: str, parts: Sequence[str]) -> str:
    """The same text with another default of `without`: nothing else of it changes, so that it runs as it did."""
    default = _default_of(source, entry)
    assert default is not None
    assert default.end_lineno is not None
    assert default.end_col_offset is not None
    lines = source.encode().splitlines(keepends=True)  # the tree counts bytes
    first, last = default.lineno - 1, default.end_lineno - 1
    after = lines[last][default.end_col_offset :]
    lines[first : last + 1] = [lines[first][: default.col_offset] + repr(tuple(parts)).encode() + after]
    return b"".join(lines).decode()


def declared_parts(source: str) -> tuple[str, ...]:
    """The names in a top-level `PARTS = ("a", "b")`; none where there is no such literal or the text does not parse."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return ()
    for statement in body:
        if isinstance(statement, ast.Assign) and any(_is_named(target) for target in statement.targets):
            return _names(statement.value)
    return ()


def _is_named(target: ast.expr) -> bool:
    return isinstance(target, ast.Name) and target.id == DECLARATION


def _names(value: ast.expr) -> tuple[str, ...]:
    if not isinstance(value, ast.Tuple | ast.List):
        return ()
    told = [item.value for item in value.elts if isinstance(item, ast.Constant)]
    names = [name for name in told if isinstance(name, str) and name.isidentifier()]
    return tuple(dict.fromkeys(names))[:_MOST_PARTS]
