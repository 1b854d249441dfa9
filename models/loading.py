"""Turns a candidate's source text into a mixer class. Executes it: only for sandbox children and tests."""

from __future__ import annotations

import inspect
import linecache
import sys
import traceback
from types import ModuleType
from typing import Any

from torch import nn

CANDIDATE_FILE = "<candidate>"
_MODULE_NAME = "candidate"


class LoadError(Exception):
    """The source does not define a usable entry class; the message ends with the candidate's own lines."""


def load_mixer(source: str, entry: str = "TokenMixer") -> type[nn.Module]:
    """Execute `source` and hand on its class `entry`.

    Classes in flash-linear-attention's style, whose forward takes `hidden_states` and returns a tuple, are adapted:
    the result takes x_BTD and returns the tuple's first element; parameter names stay.

    Raises:
        LoadError: the source does not compile or run, or has no nn.Module class of that name.
    """
    module = ModuleType(_MODULE_NAME)
    module.__file__ = CANDIDATE_FILE
    # Tracebacks, inspect and dataclasses look the module up by these.
    linecache.cache[CANDIDATE_FILE] = (len(source), None, source.splitlines(keepends=True), CANDIDATE_FILE)
    sys.modules[_MODULE_NAME] = module
    try:
        exec(compile(source, CANDIDATE_FILE, "exec", dont_inherit=True), module.__dict__)
    except Exception as error:
        raise LoadError(candidate_traceback(error)) from error
    found = getattr(module, entry, None)
    if found is None:
        raise LoadError(f"the module defines no {entry}; name the class so")
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise LoadError(f"{entry} is {found!r}; it has to be a subclass of torch.nn.Module")
    return _adapt_fla_style(found) if _first_argument(found) == "hidden_states" else found


def candidate_traceback(error: BaseException, max_frames: int = 6) -> str:
    """The error with those frames alone that lie in the candidate's source, innermost last."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == CANDIDATE_FILE]
    lines = [f"line {frame.lineno}, in {frame.name}: {frame.line}" for frame in frames[-max_frames:]]
    return "\n".join([*lines, "".join(traceback.format_exception_only(error)).strip()])


def _first_argument(mixer_class: type[nn.Module]) -> str | None:
    try:
        names = list(inspect.signature(mixer_class.forward).parameters)
    except (TypeError, ValueError):
        return None
    return names[1] if len(names) > 1 else None


def _adapt_fla_style(mixer_class: type[nn.Module]) -> type[nn.Module]:
    def forward(self: nn.Module, x: Any) -> Any:
        result = mixer_class.forward(self, x)
        return result[0] if isinstance(result, tuple) else result

    return type(mixer_class.__name__, (mixer_class,), {"forward": forward, "__module__": mixer_class.__module__})
