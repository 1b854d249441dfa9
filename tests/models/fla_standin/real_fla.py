"""Files of an installed flash-linear-attention, read by path: nothing here imports it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

_SPEC = importlib.util.find_spec("fla")  # once, before a test puts the stand-in in its place


def folder() -> Path:
    """Where fla is installed; skips the test where it is not."""
    places = list(_SPEC.submodule_search_locations or ()) if _SPEC is not None else []
    if not places:
        pytest.skip("flash-linear-attention is not installed: nothing to compare with")
    return Path(places[0])


def reference(op: str) -> ModuleType:
    """The plain PyTorch reference functions of one of fla's operators."""
    path = folder() / "ops" / op / "naive.py"
    if not path.is_file():
        pytest.skip(f"this release of flash-linear-attention has no {path.name} for {op}")
    spec = importlib.util.spec_from_file_location(f"reference_{op}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
