"""Who a name stands for: Python's scopes over a syntax tree, with imports and simple rebindings followed.

A name may stand for several things, since branches are not decided: all of them are kept. Values that pass through
containers, parameters, attributes or return values are not followed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
ComprehensionNode = ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp


@dataclass(eq=False, slots=True)
class Scope:
    """One namespace; `origins` lists what each name of it was bound to: a dotted path, an expression, or unknown."""

    kind: Literal["module", "class", "function", "comprehension"]
    parent: Scope | None = None
    origins: dict[str, list[str | Placed | None]] = field(default_factory=dict)
    global_names: set[str] = field(default_factory=set)
    nonlocal_names: set[str] = field(default_factory=set)

    def bind(self, name: str, origin: str | Placed | None) -> None:
        self.origins.setdefault(name, []).append(origin)


@dataclass(frozen=True, eq=False, slots=True)
class Placed:
    """A node with its surroundings."""

    node: ast.AST
    parent: ast.AST | None
    scope: Scope


def places(tree: ast.Module, outer: Scope) -> list[Placed]:
    """Every node of a tree with its scope, from the outside in; names of the tree's own level are bound in `outer`."""
    found: list[Placed] = []
    bindings: list[tuple[Scope, str, str | Placed | None]] = []
    stack = [Placed(tree, None, outer)]
    while stack:
        place = stack.pop()
        found.append(place)
        bindings += ((place.scope, name, origin) for name, origin in _bindings(place))
        children = list(_children(place))
        for child in children:
            if isinstance(child.node, ast.arg):
                bindings.append((child.scope, child.node.arg, None))
        stack += reversed(children)
    for scope, name, origin in bindings:
        _home(scope, name).bind(name, origin)
    return found


def resolve(expression: ast.AST, scope: Scope, *, depth: int = 0) -> frozenset[str]:
    """The dotted paths that an expression may stand for: imports by their full name, builtins as builtins.NAME."""
    if depth > 20:  # x = y; y = x
        return frozenset()
    if isinstance(expression, ast.Name):
        return _resolve_name(expression.id, scope, depth)
    if isinstance(expression, ast.Attribute):
        return frozenset(f"{path}.{expression.attr}" for path in resolve(expression.value, scope, depth=depth + 1))
    if isinstance(expression, ast.NamedExpr):
        return resolve(expression.value, scope, depth=depth + 1)
    if isinstance(expression, ast.IfExp):
        return resolve(expression.body, scope, depth=depth + 1) | resolve(expression.orelse, scope, depth=depth + 1)
    if isinstance(expression, ast.BoolOp):
        return frozenset().union(*(resolve(value, scope, depth=depth + 1) for value in expression.values))
    if isinstance(expression, ast.Call) and (name := literal_getattr(expression)) is not None:
        return frozenset(f"{path}.{name}" for path in resolve(expression.args[0], scope, depth=depth + 1))
    return frozenset()


def literal_getattr(call: ast.Call) -> str | None:
    """The attribute's name in `getattr(x, "name"[, default])`."""
    if not (isinstance(call.func, ast.Name) and call.func.id == "getattr" and len(call.args) >= 2):
        return None
    name = call.args[1]
    return name.value if isinstance(name, ast.Constant) and isinstance(name.value, str) else None


def _resolve_name(name: str, scope: Scope, depth: int) -> frozenset[str]:
    paths: set[str] = set()
    here: Scope | None = scope
    while here is not None:
        if name in here.global_names and here.parent is not None:
            here = _module(here)
            continue
        visible = here.kind != "class" or here is scope
        if visible and name in here.origins and name not in here.nonlocal_names:
            for origin in here.origins[name]:
                if isinstance(origin, str):
                    paths.add(origin)
                elif origin is not None:
                    paths |= resolve(origin.node, origin.scope, depth=depth + 1)
            if here.kind in ("function", "comprehension"):
                return frozenset(paths)
        here = here.parent
    # A binding of a module or class may not have happened yet: the builtin of that name is still reachable.
    return frozenset(paths | {f"builtins.{name}"})


def _home(scope: Scope, name: str) -> Scope:
    """Where a binding lands: `global` and `nonlocal` move it outwards."""
    if name in scope.global_names:
        return _module(scope)
    while name in scope.nonlocal_names and scope.parent is not None:
        scope = scope.parent
    return scope


def _module(scope: Scope) -> Scope:
    while scope.parent is not None:
        scope = scope.parent
    return scope


def _around(scope: Scope) -> Scope:
    """The scope that a `:=` inside a comprehension binds in."""
    while scope.kind == "comprehension" and scope.parent is not None:
        scope = scope.parent
    return scope


def _bindings(place: Placed) -> Iterator[tuple[str, str | Placed | None]]:
    node, scope = place.node, place.scope
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield (alias.asname, alias.name) if alias.asname else (alias.name.split(".")[0],) * 2
    elif isinstance(node, ast.ImportFrom):
        for alias in node.names:
            yield alias.asname or alias.name, f"{node.module or ''}.{alias.name}"
    elif isinstance(node, FunctionNode | ast.ClassDef):
        yield node.name, None
    elif isinstance(node, ast.Global):
        scope.global_names.update(node.names)
    elif isinstance(node, ast.Nonlocal):
        scope.nonlocal_names.update(node.names)
    elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
        yield node.name, None
    elif isinstance(node, ast.MatchMapping) and node.rest:
        yield node.rest, None
    elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        if not isinstance(place.parent, ast.NamedExpr):  # binds around a comprehension: below
            yield node.id, None
    elif isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Name):
                yield target.id, Placed(node.value, node, scope)
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
        yield node.target.id, Placed(node.value, node, scope)
    elif isinstance(node, ast.NamedExpr) and isinstance(node.target, ast.Name):
        around = _around(scope)
        _home(around, node.target.id).bind(node.target.id, Placed(node.value, node, scope))
    elif isinstance(node, ast.For | ast.comprehension) and isinstance(node.target, ast.Name):
        for item in node.iter.elts if isinstance(node.iter, ast.Tuple | ast.List | ast.Set) else ():
            yield node.target.id, Placed(item, node, scope)


def _children(place: Placed) -> Iterator[Placed]:
    """The parts of a node, each in the scope where it is evaluated."""
    node, scope = place.node, place.scope
    inner = scope
    outside: set[int] = set()
    if isinstance(node, FunctionNode | ast.Lambda):
        inner = Scope("function", scope)
        arguments = node.args
        outside = {id(part) for part in (*arguments.defaults, *arguments.kw_defaults) if part is not None}
        if isinstance(node, FunctionNode):
            outside |= {id(part) for part in (*node.decorator_list, node.returns) if part is not None}
        # The arguments are handed on one by one: their names belong inside, what stands beside them outside.
        every = (*arguments.posonlyargs, *arguments.args, arguments.vararg, *arguments.kwonlyargs, arguments.kwarg)
        for argument in every:
            if argument is not None:
                yield Placed(argument, node, inner)
        for default in (*arguments.defaults, *arguments.kw_defaults):
            if default is not None:
                yield Placed(default, node, scope)
        outside.add(id(arguments))
        for child in ast.iter_child_nodes(node):
            if child is not arguments:
                yield Placed(child, node, scope if id(child) in outside else inner)
        return
    if isinstance(node, ast.arg):  # its annotation is evaluated around the function
        if node.annotation is not None and scope.parent is not None:
            yield Placed(node.annotation, node, scope.parent)
        return
    if isinstance(node, ast.ClassDef):
        inner = Scope("class", scope)
        outside = {id(part) for part in (*node.decorator_list, *node.bases, *node.keywords)}
    elif isinstance(node, ComprehensionNode):
        inner = Scope("comprehension", scope)
        first = node.generators[0]
        yield Placed(first.iter, first, scope)
    elif isinstance(node, ast.comprehension) and isinstance(place.parent, ComprehensionNode):
        # The first iterable was handed on above, with the scope around.
        skipped = node.iter if node is place.parent.generators[0] else None
        for child in ast.iter_child_nodes(node):
            if child is not skipped:
                yield Placed(child, node, scope)
        return
    for child in ast.iter_child_nodes(node):
        yield Placed(child, node, scope if id(child) in outside else inner)
