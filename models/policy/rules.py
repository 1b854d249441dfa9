"""The tables as answers: why a module may not be imported, and why a member may not be used."""

from __future__ import annotations

from dataclasses import dataclass

from models.policy import tables

_ALLOWED = "use torch, numpy, einops, fla, triton, kernels.dispatch, math, typing and their like alone"
_FEW = 16  # members that a remedy lists
_OPTIONAL = "put it under `if TYPE_CHECKING:` or into `try: ... except ImportError:`"
_PUBLIC = "use what the package offers publicly"


@dataclass(frozen=True, slots=True)
class Refusal:
    """What is refused and what to write instead."""

    what: str
    remedy: str


def refused_import(module: str) -> Refusal | None:
    """Why a module may not be imported."""
    if any(part.startswith("_") for part in module.split(".")) and module != "__future__":
        return Refusal(f"import of the private {module}", _PUBLIC)
    if module in tables.MODULES:
        return None
    root = module.partition(".")[0]
    if root == tables.OPEN_PACKAGE:
        return refused_member(module)
    if root in tables.OPTIONAL_PACKAGES:
        return Refusal(f"import of {module} where it may be missing", _OPTIONAL)
    by_table = refused_member(module) if root in tables.MODULES else None
    return by_table or Refusal(f"import of {module}", _ALLOWED)


def refused_member(path: str) -> Refusal | None:
    """Why a dotted path may not be used; the shortest refused part of it is named."""
    parts = path.split(".")
    if parts[0] == "builtins":
        name = parts[1]
        return Refusal(f"the builtin {name}", tables.BUILTINS[name]) if name in tables.BUILTINS else None
    for end in range(1, len(parts)):
        if refusal := _refused_part(".".join(parts[:end]), parts[end]):
            return refusal
    return None


def is_module(path: str) -> bool:
    """Whether a path is known to be a module."""
    return path in tables.MODULES or path in tables.OPEN_MODULES


def _refused_part(owner: str, name: str) -> Refusal | None:
    path = f"{owner}.{name}"
    if path in tables.MODULES:
        return None
    if path in tables.MEMBERS:
        return Refusal(path, tables.MEMBERS[path])
    if name in tables.VIA and f"{owner.partition('.')[0]} {name}" not in tables.NOT_VIA:
        return Refusal(f"{name} by way of {owner}", "import what you need by its own name")
    if owner in tables.ONLY and name not in tables.ONLY[owner]:
        few = len(tables.ONLY[owner]) < _FEW
        return Refusal(path, f"of {owner} use {', '.join(sorted(tables.ONLY[owner]))}" if few else _PUBLIC)
    if name.startswith("_") and not name.startswith("__") and not _has_privates(owner):
        return Refusal(f"the private {path}", _PUBLIC)
    if name in tables.ATTRIBUTES:
        return Refusal(f".{name}", tables.ATTRIBUTES[name])
    for prefix, remedy in tables.PREFIXES.items():
        if path.startswith(prefix):
            return Refusal(path, remedy)
    if owner == "torch" and name.endswith(tables.STORAGE_SUFFIX):
        return Refusal(path, tables.STORAGE_REMEDY)
    return None


def _has_privates(owner: str) -> bool:
    """Classes (their private names are judged as attributes), and packages that are there for types alone."""
    last = owner.rpartition(".")[2]
    return owner.partition(".")[0] in tables.OPTIONAL_PACKAGES or (last[:1].isupper() and len(last) > 1)
