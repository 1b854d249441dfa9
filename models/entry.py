"""A candidate's file, and which class of it is meant. Reads the text alone: standard library, nothing is executed."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

ENTRY = "TokenMixer"
_LARGEST = 512 << 10  # beyond what a child is sent (models.sandbox.exam): enough to be refused for it
_LAYER_ARGUMENT = "hidden_states"  # what flash-linear-attention's layers call forward's first argument


def read_source(path: Path) -> str:
    """A source file's text, cut off where it is too large for any candidate.

    Raises OSError where there is no regular file of that name, or none that may be read.
    """
    if not path.is_file():
        raise OSError(f"no file of that name: {path}" if not path.exists() else f"not a regular file: {path}")
    with path.open("rb") as file:
        return file.read(_LARGEST + 1).decode("utf-8-sig", "replace")


def with_entry(source: str, entry: str | None = None, wanted: str = ENTRY) -> str:
    """The source, in which `wanted` is defined: itself where it is already, else with one alias line at its end.

    `entry` names the class. Without it a text that defines no `wanted` is searched for its one layer: the class whose
    forward takes `hidden_states`, else the only one that has a forward. A class that another one of them uses or
    inherits from is a part, not the layer.

    Not covered: classes that are made or renamed when the text runs, and what `import *` brings.

    Raises:
        ValueError: the text does not parse, or does not say which class is meant.
    """
    try:
        module = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError) as error:
        where = f"line {error.lineno}: " if isinstance(error, SyntaxError) and error.lineno else ""
        raise ValueError(f"the source does not parse ({where}{error}): mend it") from error
    statements = list(_at_module_level(module.body))
    names = {name for statement in statements for name in _bound(statement)}
    if entry is not None and entry not in names:
        raise ValueError(
            f"the source defines no {entry!r}; {_classes_in_words(statements)}: name one with --entry NAME"
        )
    chosen = entry if entry is not None else wanted if wanted in names else _layer(statements, wanted)
    if chosen == wanted:
        return source
    return f"{source}{'' if source.endswith(chr(10)) else chr(10)}{wanted} = {chosen}\n"


def defined(source: str) -> frozenset[str]:
    """Names that the text binds at module level; none where it does not parse."""
    try:
        module = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return frozenset()
    return frozenset(name for statement in _at_module_level(module.body) for name in _bound(statement))


def _layer(statements: Sequence[ast.stmt], wanted: str) -> str:
    classes = {statement.name: statement for statement in statements if isinstance(statement, ast.ClassDef)}
    forwards = {name: forward for name in classes if (forward := _forward(name, classes)) is not None}
    layers = [name for name, forward in forwards.items() if _first_argument(forward) == _LAYER_ARGUMENT]
    for found in (layers, list(forwards)):
        whole = [name for name in found if not any(_uses(classes[other], name) for other in found if other != name)]
        if len(whole) == 1:
            return whole[0]
    raise ValueError(
        f"the source defines no {wanted!r} and not just one class that could be it; {_classes_in_words(statements)}: "
        "say which with --entry NAME"
    )


def _at_module_level(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run when the module does, those under if, try and with included."""
    for statement in body:
        yield statement
        for field in ("body", "orelse", "finalbody"):
            if isinstance(statement, ast.If | ast.Try | ast.With):
                yield from _at_module_level(getattr(statement, field, []))
        for handler in getattr(statement, "handlers", []):
            yield from _at_module_level(handler.body)


def _bound(statement: ast.stmt) -> Iterator[str]:
    """Names that a statement of the module binds."""
    if isinstance(statement, ast.ClassDef | ast.FunctionDef):
        yield statement.name
    elif isinstance(statement, ast.Import | ast.ImportFrom):
        yield from (alias.asname or alias.name.partition(".")[0] for alias in statement.names)
    elif isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        yield from (node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name))


def _forward(name: str, classes: dict[str, ast.ClassDef], depth: int = 8) -> ast.FunctionDef | None:
    """The class's forward, its own or that of a base in the same text."""
    if name not in classes or depth == 0:
        return None
    for item in classes[name].body:
        if isinstance(item, ast.FunctionDef) and item.name == "forward":
            return item
    inherited = (_forward(base.id, classes, depth - 1) for base in classes[name].bases if isinstance(base, ast.Name))
    return next((forward for forward in inherited if forward is not None), None)


def _first_argument(forward: ast.FunctionDef) -> str | None:
    arguments = [*forward.args.posonlyargs, *forward.args.args]
    return arguments[1].arg if len(arguments) > 1 else None


def _uses(user: ast.ClassDef, name: str) -> bool:
    return any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(user))


def _classes_in_words(statements: Sequence[ast.stmt]) -> str:
    names = [statement.name for statement in statements if isinstance(statement, ast.ClassDef)]
    return f"its classes are {', '.join(names)}" if names else "it has no class at module level"
