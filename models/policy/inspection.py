"""The reading itself: one pass over the syntax tree, every node judged with the scope that it stands in.

Standard library and records only: it runs in the parent, on text that nobody trusts, and never executes any of it.

Not guaranteed: that a text without violations is harmless. The policy cannot see how long a program runs or how much
memory it takes, what arithmetic leaks or forges, or a class that travels through a container, a parameter or a return
value before something is assigned to it. It is quick feedback and a second wall; the jail does not depend on it.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from cognition.records import Property
from models.policy import rules, tables
from models.policy.rules import Refusal
from models.policy.scopes import FunctionNode, Placed, Scope, literal_getattr, places, resolve

MAX_SOURCE_BYTES = 256 << 10
_MAX_NODES = 60_000  # what a source of that size has when it is written by hand
_MAX_DEPTH = 200  # levels of the syntax tree; Python itself gives up at a few hundred
_MAX_VIOLATIONS = 100
_NUM_SHOWN = 5
_FORMAT_DUNDER = re.compile(r"\{[^{}]*__")
_CHECKED_TYPES = frozenset({"typing.TYPE_CHECKING", "typing_extensions.TYPE_CHECKING"})
_TRIED_ERRORS = frozenset({"ImportError", "ModuleNotFoundError", "Exception"})


@dataclass(frozen=True, slots=True, order=True)
class Violation:
    """One place of a source that the policy refuses."""

    line: int
    what: str
    remedy: str


def check(source: str) -> Property:
    """The policy as a property of the gate's report: the figure is the number of violations, the limit 0."""
    found = violations(source)
    shown = [f"line {item.line}: {item.what}: {item.remedy}" for item in found[:_NUM_SHOWN]]
    more = [f"and {len(found) - _NUM_SHOWN} more"] if len(found) > _NUM_SHOWN else []
    return Property(
        name="policy", passed=not found, figure=float(len(found)), limit=0.0, detail="\n".join([*shown, *more])
    )


def violations(source: str) -> tuple[Violation, ...]:
    """What the policy refuses in a source text, in the order of its lines, each place once; at most 100 of them.

    Never raises: a text that cannot be parsed, or that is too long or too deep to be read, is one violation.
    """
    num_bytes = len(source.encode("utf-8", "surrogatepass"))
    if num_bytes > MAX_SOURCE_BYTES:
        return (Violation(1, f"the source has {num_bytes} bytes, the limit is {MAX_SOURCE_BYTES}", "shorten it"),)
    try:
        tree = _parse(source)
        if problem := _too_large(tree):
            return (problem,)
        return _sorted(_inspect(tree, Scope("module"), strings=True))
    except SyntaxError as error:
        return (Violation(error.lineno or 1, f"syntax error: {error.msg}", "mend it"),)
    except (RecursionError, MemoryError):
        return (Violation(1, "the source is nested too deeply to be read", "write it flatter"),)
    except ValueError as error:  # null bytes, lone surrogates, numbers of thousands of digits
        return (Violation(1, f"no Python source: {error}", "write plain text"),)


def _parse(source: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of invalid escapes: the text's affair, not this process's
        return ast.parse(source)


def _too_large(tree: ast.Module) -> Violation | None:
    level: list[ast.AST] = [tree]
    num_nodes = depth = 0
    while level:
        num_nodes, depth = num_nodes + len(level), depth + 1
        if num_nodes > _MAX_NODES:
            return Violation(1, f"the source has over {_MAX_NODES} syntax nodes", "shorten it")
        if depth > _MAX_DEPTH:
            line = getattr(level[0], "lineno", 1)
            return Violation(line, f"the source is nested over {_MAX_DEPTH} levels deep", "write it flatter")
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    return None


def _sorted(found: Iterator[Violation]) -> tuple[Violation, ...]:
    return tuple(sorted(set(found))[:_MAX_VIOLATIONS])


def _inspect(tree: ast.Module, outer: Scope, *, strings: bool, first_line: int = 0) -> Iterator[Violation]:
    every = places(tree, outer)
    uses = {id(place.node): place for place in every}
    for place in every:
        line = first_line or _line(place)
        for refusal in _judge(place, uses):
            yield Violation(line, refusal.what, refusal.remedy)
        if strings and (text := _annotation(place)) is not None:
            yield from _inspect_string(text, place.scope, line)


def _line(place: Placed) -> int:
    for node in (place.node, place.parent):
        if isinstance(line := getattr(node, "lineno", None), int):
            return line
    return 1


def _judge(place: Placed, uses: dict[int, Placed]) -> Iterator[Refusal]:
    node = place.node
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield from _imports(node, place, uses)
    elif isinstance(node, ast.Name):
        yield from _name(node, place, uses)
    elif isinstance(node, ast.Attribute):
        yield from _attribute(node, place, uses)
    elif isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
        yield from _store_into(node.value, place)
    elif isinstance(node, ast.Call):
        yield from _call(node, place)
    elif isinstance(node, FunctionNode):
        yield from _definition(node.name, place)
    elif isinstance(node, ast.ClassDef):
        yield from _class(node)
    elif isinstance(node, ast.MatchClass):  # patterns read attributes by name
        for name in node.kwd_attrs:
            yield from _attribute_name(name, None)
    elif isinstance(node, ast.Global | ast.Nonlocal):
        for name in node.names:
            if _is_dunder(name):
                yield Refusal(f"the name {name}", "use names of your own")
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _FORMAT_DUNDER.search(node.value):
        yield Refusal("a format string that reads __attributes__", "use an f-string of plain names")


def _imports(node: ast.Import | ast.ImportFrom, place: Placed, uses: dict[int, Placed]) -> Iterator[Refusal]:
    if place.scope.kind == "class":
        yield Refusal("an import in a class body", "import at the top")
    if isinstance(node, ast.ImportFrom):
        if node.level:
            yield Refusal("a relative import", "a candidate is one module")
            return
        module = node.module or ""
        names = [alias.name for alias in node.names]
        if "*" in names:
            yield Refusal(f"from {module} import *", "name what you import")
        members = {f"{module}.{name}" for name in names if name != "*"}
        modules = {module}
    else:
        modules, members = {alias.name for alias in node.names}, set()
    if {module.partition(".")[0] for module in modules} <= tables.OPTIONAL_PACKAGES and _is_optional(place, uses):
        return
    for module in sorted(modules):
        if refusal := rules.refused_import(module):
            yield refusal
            return
    for member in sorted(members):
        if member not in tables.MODULES and (refusal := rules.refused_member(member)):
            yield refusal


def _is_optional(place: Placed, uses: dict[int, Placed]) -> bool:
    """Whether a statement stands under `if TYPE_CHECKING:` or in a `try` that expects an ImportError."""
    child, parent = place.node, place.parent
    while parent is not None:
        if isinstance(parent, ast.If) and child in parent.body:
            if _CHECKED_TYPES & resolve(parent.test, place.scope):
                return True
        elif isinstance(parent, ast.Try) and child in parent.body:
            caught = {
                name.id
                for handler in parent.handlers
                for name in ast.walk(handler.type or ast.Name("Exception"))
                if isinstance(name, ast.Name)
            }
            if caught & _TRIED_ERRORS:
                return True
        child, parent = parent, uses[id(parent)].parent
    return False


def _name(node: ast.Name, place: Placed, uses: dict[int, Placed]) -> Iterator[Refusal]:
    if _is_dunder(node.id):
        allowed = tables.DUNDER_CLASS_VALUES if place.scope.kind == "class" else tables.DUNDER_NAMES
        if node.id not in allowed | tables.DUNDER_NAMES:
            yield Refusal(f"the name {node.id}", "use names of your own")
    if not isinstance(node.ctx, ast.Load):
        if place.scope.kind == "class" and node.id in tables.METHODS:
            yield _redefined(node.id)
        return
    paths = resolve(node, place.scope)
    builtin = f"builtins.{node.id}"
    if builtin in paths:
        if node.id in tables.BUILTINS:
            yield Refusal(f"the builtin {node.id}", tables.BUILTINS[node.id])
        elif node.id in ("getattr", "setattr", "delattr") and not _is_called(node, place):
            yield Refusal(f"{node.id} as a value", "call it with a literal name, or write the attribute")
        elif node.id == "type" and not _is_plain_type(node, place, uses):
            yield Refusal("type() used to make or to reach classes", "write the class, or use isinstance")
    yield from _used_paths(paths - {builtin}, place)


def _attribute(node: ast.Attribute, place: Placed, uses: dict[int, Placed]) -> Iterator[Refusal]:
    yield from _attribute_name(node.attr, place.parent)
    if isinstance(node.ctx, ast.Load):
        yield from _used_paths(resolve(node, place.scope), place)
        return
    yield from _store_into(node.value, place)
    if isinstance(node.value, ast.Name) and node.value.id == "self" and node.attr in tables.STORED_METHODS:
        yield _redefined(node.attr)
    made_by = node.value.func if isinstance(node.value, ast.Call) else None
    if isinstance(made_by, ast.Name) and made_by.id in ("type", "super"):
        yield Refusal(f"an assignment to an attribute of {made_by.id}()", "set it on self, or in the class")


def _attribute_name(name: str, parent: ast.AST | None) -> Iterator[Refusal]:
    of_class_name = name == "__class__" and isinstance(parent, ast.Attribute) and parent.attr == "__name__"
    if _is_dunder(name) and name not in tables.DUNDER_READS and not of_class_name:
        yield Refusal(f".{name}", "use what the object offers publicly")
    elif name in tables.ATTRIBUTES:
        yield Refusal(f".{name}", tables.ATTRIBUTES[name])


def _used_paths(paths: frozenset[str], place: Placed) -> Iterator[Refusal]:
    """What is wrong with reading something by an import's name."""
    for path in sorted(paths):
        if refusal := rules.refused_member(path) if "." in path else None:
            yield refusal
        elif rules.is_module(path) and not _is_module_use(place):
            yield Refusal(f"the module {path} as a value", "use its members by name")


def _is_module_use(place: Placed) -> bool:
    """Member access, a plain alias outside a class, or the question whether a member exists."""
    node, parent = place.node, place.parent
    if isinstance(parent, ast.Attribute | ast.Expr):
        return True
    if isinstance(parent, ast.Assign):
        plain = all(isinstance(target, ast.Name) for target in parent.targets)
        return parent.value is node and plain and place.scope.kind != "class"
    if not (isinstance(parent, ast.Call) and parent.args[:1] == [node] and isinstance(parent.func, ast.Name)):
        return False
    return parent.func.id == "hasattr" or literal_getattr(parent) is not None


def _store_into(owner: ast.expr, place: Placed) -> Iterator[Refusal]:
    """Assignments to parts of what was imported."""
    base: ast.AST = owner
    while not (paths := _imported(base, place.scope)):
        if not isinstance(base, ast.Attribute | ast.Subscript):
            return
        base = base.value
    yield Refusal(f"an assignment into {sorted(paths)[0]}", "leave imported things as they are: write your own")


def _imported(expression: ast.AST, scope: Scope) -> set[str]:
    return {path for path in resolve(expression, scope) if not path.startswith("builtins.")}


def _call(node: ast.Call, place: Placed) -> Iterator[Refusal]:
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if name not in ("getattr", "setattr", "delattr", "hasattr", "type"):
        return
    if f"builtins.{name}" not in resolve(node.func, place.scope):
        return
    if name == "type":
        if len(node.args) != 1 or node.keywords:
            yield Refusal("type() with three arguments", "write the class")
        return
    literal = node.args[1] if len(node.args) > 1 else None
    if not (isinstance(literal, ast.Constant) and isinstance(literal.value, str)):
        yield Refusal(f"{name} with a name that is computed", "write the attribute, or use a dict or ModuleDict")
        return
    yield from _attribute_name(literal.value, None)
    if name == "getattr":
        yield from _used_paths(resolve(node, place.scope), Placed(node, ast.Expr(node), place.scope))
    elif name in ("setattr", "delattr"):
        if not (isinstance(node.args[0], ast.Name) and node.args[0].id == "self"):
            yield Refusal(f"{name} on something else than self", "assign the attribute of your own module")
        if literal.value in tables.STORED_METHODS:
            yield _redefined(literal.value)


def _definition(name: str, place: Placed) -> Iterator[Refusal]:
    in_class = place.scope.kind == "class"
    if _is_dunder(name) and not (in_class and name in tables.DUNDER_METHODS):
        yield Refusal(f"a definition of {name}", "write plain methods")
    elif in_class and name in tables.METHODS:
        yield _redefined(name)


def _class(node: ast.ClassDef) -> Iterator[Refusal]:
    for keyword in node.keywords:
        if keyword.arg == "metaclass" and not (
            isinstance(keyword.value, ast.Name | ast.Attribute) and "ABCMeta" in ast.unparse(keyword.value)
        ):
            yield Refusal("a metaclass", "write a plain class")


def _redefined(name: str) -> Refusal:
    return Refusal(f"{name} of the module redefined", tables.METHODS[name])


def _is_called(node: ast.Name, place: Placed) -> bool:
    return isinstance(place.parent, ast.Call) and place.parent.func is node


def _is_plain_type(node: ast.expr, place: Placed, uses: dict[int, Placed]) -> bool:
    """`type(x)` compared, called, shown or asked for its name; `type` in an annotation or as a class to test for."""
    parent = place.parent
    if isinstance(parent, ast.Subscript | ast.BinOp | ast.arg | ast.AnnAssign):
        return True
    if isinstance(parent, ast.Tuple):
        node, parent = parent, uses[id(parent)].parent
    if not isinstance(parent, ast.Call):
        return False
    if parent.func is not node:
        return isinstance(parent.func, ast.Name) and parent.func.id in ("isinstance", "issubclass")
    around = uses[id(parent)].parent
    if isinstance(around, ast.Call):
        return around.func is parent or (
            isinstance(around.func, ast.Name) and around.func.id in ("str", "repr", "print")
        )
    if isinstance(around, ast.Attribute):
        return around.attr == "__name__"
    return isinstance(around, ast.Compare | ast.FormattedValue)


def _is_dunder(name: str) -> bool:
    return name.startswith("__") and name.endswith("__") and len(name) > 4


def _annotation(place: Placed) -> str | None:
    """The text of an annotation that is written as a string, which some functions of the library evaluate."""
    node, parent = place.node, place.parent
    if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
        return None
    annotates = (
        (isinstance(parent, ast.arg | ast.AnnAssign) and parent.annotation is node)
        or (isinstance(parent, FunctionNode) and parent.returns is node)
        or isinstance(parent, ast.Subscript)
    )
    return node.value if annotates else None


def _inspect_string(text: str, scope: Scope, line: int) -> Iterator[Violation]:
    try:
        tree = _parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return  # no annotation that anything could evaluate
    if not _too_large(tree):
        yield from _inspect(tree, scope, strings=False, first_line=line)
