"""flash-linear-attention's names, for a candidate that was written with them.

The rule that held in training: fla itself on a CUDA device where it is installed, elsewhere its stand-in in PyTorch.
"""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache
from types import SimpleNamespace
from typing import Any

import torch

from models.fla_standin.names import FLA_VERSION, tree


def fla_name(module: str, name: str | None = None) -> Any:
    """`module` of fla's, or what it has as `name`, a room of it included. Raises ImportError."""
    real = _real_is_there()
    found = importlib.import_module(module) if real else _rooms().get(module)
    if found is not None and name is not None:
        if real and not hasattr(found, name):
            return importlib.import_module(f"{module}.{name}")
        found = getattr(found, name, None)
    if found is None:
        what = module if name is None else f"{module}.{name}"
        raise ImportError(f"{what}: the stand-in for fla {FLA_VERSION} has no such name: run it on CUDA with fla")
    return found


@cache
def _real_is_there() -> bool:
    return torch.cuda.is_available() and importlib.util.find_spec("fla") is not None


@cache
def _rooms() -> dict[str, SimpleNamespace]:
    rooms = {name: SimpleNamespace(**contents) for name, contents in tree().items()}
    for name, room in rooms.items():
        parent, _, last = name.rpartition(".")
        if parent and not hasattr(rooms[parent], last):
            setattr(rooms[parent], last, room)
    return rooms
