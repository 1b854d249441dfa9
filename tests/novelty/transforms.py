"""Rewrites that leave what a program computes as it was: other names, other order, constants without effect.

They work on the syntax tree of any candidate, so that whatever the grammar or a person writes can be proposed again in
disguise. Each takes and gives source text; comments and layout are lost on the way, as they may be.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Callable, Mapping, Sequence

ENTRIES = ("TokenMixer", "ChannelMixer")
_CONTRACT = {"forward", "step", "state_bytes", *ENTRIES, "backward", "setup_context", "jvp", "vjp"}

Transform = Callable[[str, random.Random], str]


def renamed(source: str, rng: random.Random) -> str:
    """Other names for local variables, attributes, helper functions and classes, methods and module constants."""
    tree = ast.parse(source)
    found = _Names()
    found.visit(tree)
    names = sorted(found.names - _CONTRACT - found.kept)
    attributes = sorted(found.attributes - _CONTRACT - found.kept)
    letters = [f"{rng.choice('abcdefghijklmnop')}{rng.randrange(10**6)}" for _ in range(len(names) + len(attributes))]
    if len(set(letters)) != len(letters):
        return renamed(source, rng)
    # A method is an attribute to whoever calls it, so both kinds of name may mean the same thing.
    fresh = dict(zip([*names, *attributes], letters, strict=True))
    return ast.unparse(_Renamer(fresh, set(attributes)).visit(tree))


def reordered(source: str, rng: random.Random) -> str:
    """Methods and independent lines of constructors in another order, products and sums with exchanged operands."""
    return ast.unparse(ast.fix_missing_locations(_Reorderer(rng).visit(ast.parse(source))))


def scaled_by_one(source: str, rng: random.Random) -> str:
    """What forward returns, times one, or plus zero."""
    operator, value = rng.choice([(ast.Mult(), 1.0), (ast.Add(), 0.0), (ast.Div(), 1.0), (ast.Sub(), 0.0)])

    def change(method: ast.FunctionDef) -> None:
        for node in ast.walk(method):
            if isinstance(node, ast.Return) and node.value is not None and not isinstance(node.value, ast.Tuple):
                node.value = ast.BinOp(left=node.value, op=operator, right=ast.Constant(value))

    return _in_methods(source, "forward", change)


def with_unused(source: str, rng: random.Random) -> str:
    """An argument that nobody gives and an attribute that nobody reads."""

    def change(method: ast.FunctionDef) -> None:
        method.args.kwonlyargs.append(ast.arg(arg="flavour"))
        method.args.kw_defaults.append(ast.Constant(f"plain {rng.randrange(100)}"))
        method.body.append(ast.parse(f"self.reserved = {rng.randrange(2, 9)} * 32").body[0])

    return _in_methods(source, "__init__", change)


def other_words(source: str, rng: random.Random) -> str:
    """Another docstring at the top."""
    tree = ast.parse(source)
    if ast.get_docstring(tree) is not None:
        del tree.body[0]
    tree.body.insert(0, ast.Expr(ast.Constant(f"Take {rng.randrange(1000)}: a fresh look at the state.")))
    return ast.unparse(ast.fix_missing_locations(tree))


def copied_input(source: str, rng: random.Random) -> str:
    """The input taken through a view, a cast or a copy before anything is done with it."""
    way = rng.choice(["{0}.contiguous()", "{0}.view({0}.shape)", "{0}.to({0}.dtype)", "{0}.clone()"])

    def change(method: ast.FunctionDef) -> None:
        name = method.args.args[1].arg
        method.body.insert(0, ast.parse(f"{name} = {way.format(name)}").body[0])

    return _in_methods(source, "forward", change)


TRANSFORMS: Mapping[str, Transform] = {
    "renamed": renamed,
    "reordered": reordered,
    "scaled_by_one": scaled_by_one,
    "with_unused": with_unused,
    "other_words": other_words,
    "copied_input": copied_input,
}


def disguised(source: str, rng: random.Random) -> tuple[str, Sequence[str]]:
    """The source behind two to four of them, in any order, and their names."""
    chosen = rng.sample(sorted(TRANSFORMS), rng.randint(2, 4))
    for name in chosen:
        source = TRANSFORMS[name](source, rng)
    return source, chosen


def _in_methods(source: str, name: str, change: Callable[[ast.FunctionDef], None]) -> str:
    """The source with a method of the entry class changed."""
    tree = ast.parse(source)
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name in ENTRIES:
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and method.name == name:
                    change(method)
    return ast.unparse(ast.fix_missing_locations(tree))


class _Names(ast.NodeVisitor):
    """What a module names itself: `names` as variables, `attributes` on self, and what may not be renamed."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.kept: set[str] = {"self"}

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Store):
            self.names.add(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        own = isinstance(node.value, ast.Name) and node.value.id == "self"
        if own and isinstance(node.ctx, ast.Store):
            self.attributes.add(node.attr)
        elif not own:
            self.kept.add(node.attr)  # somebody else's, or read from outside
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if not node.name.startswith("__"):
            self.names.add(node.name)
        arguments = node.args
        self.kept |= {item.arg for item in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
        self.kept |= {item.arg for item in (arguments.vararg, arguments.kwarg) if item is not None}
        self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.names.add(node.name)
        for item in node.body:
            if isinstance(item, ast.FunctionDef) and not item.name.startswith("__"):
                self.attributes.add(item.name)
        self.generic_visit(node)

    def visit_keyword(self, node: ast.keyword) -> None:
        if node.arg is not None:
            self.kept.add(node.arg)
        self.generic_visit(node)

    def visit_alias(self, node: ast.alias) -> None:
        self.kept.add((node.asname or node.name).split(".")[0])


class _Renamer(ast.NodeTransformer):
    def __init__(self, fresh: Mapping[str, str], attributes: set[str]) -> None:
        self._fresh, self._attributes = fresh, attributes

    def visit_Name(self, node: ast.Name) -> ast.AST:
        node.id = self._fresh.get(node.id, node.id)
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if node.attr in self._attributes:
            node.attr = self._fresh.get(node.attr, node.attr)
        self.generic_visit(node)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.name = self._fresh.get(node.name, node.name)
        self.generic_visit(node)
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.name = self._fresh.get(node.name, node.name)
        self.generic_visit(node)
        return node


class _Reorderer(ast.NodeTransformer):
    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self.generic_visit(node)
        methods = [item for item in node.body if isinstance(item, ast.FunctionDef)]
        self._rng.shuffle(methods)
        order = iter(methods)
        node.body = [next(order) if isinstance(item, ast.FunctionDef) else item for item in node.body]
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        if node.name == "__init__":
            node.body = [line for run in _runs(node.body) for line in self._rng.sample(run, len(run))]
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        numeric = not any(
            isinstance(side, ast.List | ast.Tuple | ast.JoinedStr | ast.ListComp)
            or (isinstance(side, ast.Constant) and isinstance(side.value, str))
            for side in ast.walk(node)
        )
        if isinstance(node.op, ast.Mult | ast.Add) and numeric and self._rng.random() < 0.7:
            node.left, node.right = node.right, node.left
        return node


def _runs(body: Sequence[ast.stmt]) -> list[list[ast.stmt]]:
    """Lines that make a module or a parameter and need none of their neighbours, as runs that may change order."""
    runs: list[list[ast.stmt]] = []
    for line in body:
        free = _makes_something(line)
        if runs and free and _makes_something(runs[-1][0]):
            runs[-1].append(line)
        else:
            runs.append([line])
    return runs


def _makes_something(line: ast.stmt) -> bool:
    """`self.NAME = ...` from locals and plain attributes alone."""
    if not (isinstance(line, ast.Assign) and len(line.targets) == 1 and isinstance(line.targets[0], ast.Attribute)):
        return False
    text = ast.unparse(line.value)
    return text.startswith(("nn.", "ShortConvolution", "_low_rank", "short_filter")) and not any(
        isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute)
        for node in ast.walk(line.value)
        if ast.unparse(node).startswith("self.")
    )
