"""Which of our files a candidate needs, copied so that transformers finds them: flat, with relative imports.

transformers copies the files of a model's folder that others import by `from .name import`; folders within it and
absolute imports of ours would be lost. So `kernels/dispatch.py` becomes `kernels_dispatch.py`, and imports are
rewritten in place, the rest of the text as it was.

Not covered: modules that code names in other ways than import statements and `import_module` with a literal beginning.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOMS = ("kernels", "models", "cognition")
CANDIDATE = "candidate"
FLA_NAMES = "models.export.parts.fla_names"
_ROOT = Path(__file__).resolve().parents[2]
_FLA_PACKAGE = "fla.layers"  # where relative imports of a candidate start, as in models.loading
_OPTIONAL = "triton"  # wrapped, so that transformers does not ask for it where nothing needs it


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A file of a bundle."""

    name: str  # "kernels_dispatch.py"
    origin: str  # "kernels/dispatch.py"
    text: str


def copies(candidate: str, roots: Iterable[str]) -> tuple[Copy, ...]:
    """candidate.py with its imports made relative, `roots` (modules of ours), and all that any of them imports.

    Raises:
        ValueError: an import that cannot be made relative; `import *` of fla is one.
    """
    rewriting = _Rewriting(candidate, package=_FLA_PACKAGE, fla=True)
    found = {CANDIDATE: Copy(name=f"{CANDIDATE}.py", origin="the candidate's source", text=rewriting.text())}
    waiting = [*roots, *rewriting.needed]
    while waiting:
        module = waiting.pop()
        if module in found:
            continue
        path = _path_of(module)
        rewriting = _Rewriting(path.read_text(encoding="utf-8"), package=module.rpartition(".")[0], fla=False)
        origin = path.relative_to(_ROOT).as_posix()
        text = f"# Copied from {origin}, imports made relative.\n{rewriting.text()}"
        found[module] = Copy(name=f"{flat(module)}.py", origin=origin, text=text)
        waiting += rewriting.needed
    return tuple(sorted(found.values(), key=lambda copy: copy.name))


def flat(module: str) -> str:
    """The module's name in a bundle."""
    return module.replace(".", "_")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Edit:
    begin: int  # bytes of the text
    end: int
    text: str


class _Rewriting:
    """One text whose imports of ours, and of fla in a candidate, are replaced; `needed`: modules that it wants."""

    def __init__(self, source: str, *, package: str, fla: bool) -> None:
        self.needed: list[str] = []
        self._bytes = source.encode()
        self._package, self._fla = package, fla
        starts = [0]
        for line in self._bytes.splitlines(keepends=True):
            starts.append(starts[-1] + len(line))
        self._starts = starts
        self._edits = [edit for node in ast.walk(ast.parse(source)) if (edit := self._edit(node)) is not None]

    def text(self) -> str:
        done, at = b"", 0
        for edit in sorted(self._edits, key=lambda edit: edit.begin):
            done += self._bytes[at : edit.begin] + edit.text.encode()
            at = edit.end
        return (done + self._bytes[at:]).decode()

    def _edit(self, node: ast.AST) -> _Edit | None:
        if isinstance(node, ast.Import):
            lines = [line for alias in node.names for line in self._import(alias)]
            return self._statement(node, lines, changed=any(self._is_ours(alias.name) for alias in node.names))
        if isinstance(node, ast.ImportFrom):
            module = self._absolute(node)
            if self._is_ours(module):
                return self._statement(node, list(self._import_from(module, node.names)), changed=True)
        if isinstance(node, ast.Call) and _called(node) == "import_module" and node.args:
            return self._import_module(node.args[0])
        return None

    def _is_ours(self, module: str) -> bool:
        first = module.partition(".")[0]
        return first in ROOMS or first == _OPTIONAL or (self._fla and first == "fla")

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self._package.split(".")
        base = parts[: len(parts) - node.level + 1]
        return ".".join([*base, *([node.module] if node.module else [])])

    def _import(self, alias: ast.alias) -> Iterator[str]:
        first = alias.name.partition(".")[0]
        if first == _OPTIONAL:
            told = f"import {alias.name}" + (f" as {alias.asname}" if alias.asname else "")
            yield from ("try:", f"    {told}", "except ImportError:", "    raise")
        elif first == "fla" and self._fla:
            yield self._fla_line(alias.asname or "fla", alias.name if alias.asname else "fla")
        elif first in ROOMS:
            if alias.asname is None and "." in alias.name:
                raise ValueError(f"`import {alias.name}` cannot be made relative: write `from ... import ...`")
            yield self._module_line(alias.name, alias.asname or alias.name)
        else:
            yield f"import {alias.name}" + (f" as {alias.asname}" if alias.asname else "")

    def _import_from(self, module: str, names: list[ast.alias]) -> Iterator[str]:
        if module.partition(".")[0] == _OPTIONAL:
            told = ", ".join(ast.unparse(alias) for alias in names)
            yield from ("try:", f"    from {module} import {told}", "except ImportError:", "    raise")
            return
        if module.partition(".")[0] == "fla":
            for alias in names:
                if alias.name == "*":
                    raise ValueError(f"`from {module} import *` cannot be copied: name what is imported")
                yield self._fla_line(alias.asname or alias.name, module, alias.name)
            return
        plain = []
        for alias in names:
            if _exists(f"{module}.{alias.name}"):
                yield self._module_line(f"{module}.{alias.name}", alias.asname or alias.name)
            else:
                plain.append(ast.unparse(alias))
        if plain:
            self.needed.append(module)
            yield f"from .{flat(module)} import {', '.join(plain)}"

    def _module_line(self, module: str, name: str) -> str:
        self.needed.append(module)
        return f"from . import {flat(module)} as {name}"

    def _fla_line(self, bound: str, *asked: str) -> str:
        self.needed.append(FLA_NAMES)
        told = ", ".join(repr(part) for part in asked)
        return f"from .{flat(FLA_NAMES)} import fla_name as _fla_name; {bound} = _fla_name({told})"

    def _statement(self, node: ast.stmt, lines: list[str], *, changed: bool) -> _Edit | None:
        if not changed:
            return None
        begin, end = self._place(node)
        line = self._bytes[self._starts[node.lineno - 1] : begin]
        indent = line.decode() if not line.strip() else None
        if indent is None and any(line.endswith(":") for line in lines):
            raise ValueError(f"line {node.lineno}: an import of {_OPTIONAL} behind another statement: give it a line")
        return _Edit(begin=begin, end=end, text="; ".join(lines) if indent is None else f"\n{indent}".join(lines))

    def _import_module(self, argument: ast.expr) -> _Edit | None:
        """`import_module("kernels.x")` and f"kernels.fused.{name}": all that may be meant is needed."""
        first = argument.values[0] if isinstance(argument, ast.JoinedStr) and argument.values else argument
        if not (isinstance(first, ast.Constant) and isinstance(first.value, str) and self._is_ours(first.value)):
            return None
        beginning = first.value
        if beginning.partition(".")[0] not in ROOMS:
            return None
        self.needed += _modules_from(beginning) if first is not argument else [beginning]
        begin, end = self._place(argument)
        told = self._bytes[begin:end].decode().replace(beginning, f".{flat(beginning)}", 1)
        return _Edit(begin=begin, end=end, text=f"{told}, __package__")

    def _place(self, node: ast.stmt | ast.expr) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        begin = self._starts[node.lineno - 1] + node.col_offset
        return begin, self._starts[node.end_lineno - 1] + node.end_col_offset


def listing(found: Iterable[Copy]) -> str:
    """Lines for the modeling file by which transformers sees every other one; nothing is imported by them."""
    names = sorted(copy.name.removesuffix(".py") for copy in found)
    lines = [f"    from .{name} import __name__ as _{name}  # noqa: F401" for name in names]
    told = "# transformers copies the files that it finds named here."
    return "\n".join(["", "", told, "if TYPE_CHECKING:", *lines, ""])


def origins(found: Iterable[Copy]) -> Mapping[str, str]:
    """File of the bundle -> file that it was copied from."""
    return {copy.name: copy.origin for copy in found}


def _called(node: ast.Call) -> str:
    function = node.func
    return (
        function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""
    )


def _exists(module: str) -> bool:
    path = _ROOT.joinpath(*module.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def _path_of(module: str) -> Path:
    path = _ROOT.joinpath(*module.split("."))
    for found in (path.with_suffix(".py"), path / "__init__.py"):
        if found.is_file():
            return found
    raise ValueError(f"{module}: no such module here, and it is needed by what is exported")


def _modules_from(beginning: str) -> list[str]:
    package = beginning.rstrip(".")
    folder = _ROOT.joinpath(*package.split("."))
    return sorted(f"{package}.{path.stem}" for path in folder.glob("*.py") if path.stem != "__init__")
