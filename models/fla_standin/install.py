"""The stand-in under fla's module names, for as long as a process or a test wants it."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from models.fla_standin.names import FLA_VERSION, tree

_MARK = "__fla_standin__"


def install(device: str = "cpu") -> bool:
    """Let `import fla` find the stand-in; True if it does from now on.

    The rule: on a CUDA device with fla installed the real one is used and nothing is done (False); everywhere else the
    stand-in is. Doing it twice is harmless. Modules of the real fla that are loaded already are set aside.

    Not meant for processes of the host: what imports fla after this gets the stand-in.
    """
    if device.partition(":")[0] == "cuda" and _real_is_there():
        return False
    if not is_standin():
        for name in _loaded():
            del sys.modules[name]
        sys.modules.update(_built())
        sys.meta_path.insert(0, _Refusing())
    return True


@contextmanager
def installed(device: str = "cpu") -> Iterator[bool]:
    """`install`, undone at the end: fla is then what it was before."""
    before = {name: sys.modules[name] for name in _loaded()}
    finders = list(sys.meta_path)
    try:
        yield install(device)
    finally:
        for name in _loaded():
            del sys.modules[name]
        sys.modules.update(before)
        sys.meta_path[:] = finders


def is_standin() -> bool:
    """Whether `import fla` finds the stand-in now."""
    return hasattr(sys.modules.get("fla"), _MARK)


class _Refusing:
    """A finder asked for modules of fla's that are not in sys.modules: it says what there is."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> None:
        if name == "fla" or name.startswith("fla."):
            raise ImportError(_missing(name), name=name)


def _missing(name: str) -> str:
    parent, _, last = name.rpartition(".")
    while parent and parent not in sys.modules:
        parent = parent.rpartition(".")[0]
    offered = sorted(key for key in vars(sys.modules[parent]) if not key.startswith("_")) if parent else []
    return (
        f"{name}: the stand-in for fla {FLA_VERSION} on machines without a GPU has no {last!r}; {parent or 'it'} has "
        f"{', '.join(offered) or 'nothing'}: use one of these, or write it in PyTorch or with kernels.dispatch"
    )


def _built() -> dict[str, ModuleType]:
    modules: dict[str, ModuleType] = {}
    for name, contents in tree().items():
        module = ModuleType(name, f"Stand-in for {name}.")
        # All are packages without a place: then `from fla.x import y` asks a finder for what is missing.
        spec = importlib.machinery.ModuleSpec(name, None, is_package=True)
        module.__spec__, module.__package__, module.__path__ = spec, name, []
        vars(module).update(contents)
        vars(module).update({_MARK: True, "__getattr__": _refusing_attributes(name)})
        vars(module)["__all__"] = sorted(key for key in contents if not key.startswith("_"))
        modules[name] = module
    for name, module in modules.items():
        parent, _, last = name.rpartition(".")
        # As in fla, where a function and the module it is defined in share a name, the function wins.
        if parent and last not in vars(modules[parent]):
            setattr(modules[parent], last, module)
    return modules


def _refusing_attributes(module: str) -> Any:
    def refuse(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(_missing(f"{module}.{name}"))

    return refuse


def _loaded() -> list[str]:
    return [name for name in sys.modules if name == "fla" or name.startswith("fla.")]


def _real_is_there() -> bool:
    if is_standin():
        return False
    return "fla" in sys.modules or importlib.util.find_spec("fla") is not None
