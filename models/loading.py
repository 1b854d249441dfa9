"""Turns a candidate's source text into a mixer class. Executes it: only for sandbox children and tests."""

from __future__ import annotations

import linecache
import sys
import traceback
from types import ModuleType

from torch import nn

from models.entry import ENTRY
from models.fla_style import LoadError, in_host_style
from models.slots import SLOTS

CANDIDATE_FILE = "<candidate>"
_MODULE_NAME = "candidate"
_CHANNEL_ENTRIES = frozenset(slot.entry for slot in SLOTS.values() if slot.takes_width)
_PACKAGE = "fla.layers"  # where relative imports start: fla's own layers live there


def load_mixer(source: str, entry: str = ENTRY) -> type[nn.Module]:
    """Execute `source` and hand on its class `entry`, built as its slot's contract says.

    Token mixers in flash-linear-attention's style, whose forward takes `hidden_states`, are adapted by a subclass;
    parameter names stay. The result's forward takes x_BTD (and passes on any keywords) and returns the first element of
    a tuple. Its constructor passes hidden_size (or d_model), num_heads (or num_attention_heads, n_heads), layer_idx and
    head_dim = hidden_size // num_heads by keyword, each where the class's constructor names it; everything else keeps
    its default. Where forward takes `past_key_values` and `use_cache`, `step` decodes through them.

    Raises:
        LoadError: the source does not compile or run, has no nn.Module class of that name, or one that asks for
            arguments which the host does not have.
    """
    module = ModuleType(_MODULE_NAME)
    module.__file__ = CANDIDATE_FILE
    module.__package__ = _PACKAGE
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
    return found if entry in _CHANNEL_ENTRIES else in_host_style(found)


def candidate_traceback(error: BaseException, max_frames: int = 6) -> str:
    """The error with those frames alone that lie in the candidate's source, innermost last."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == CANDIDATE_FILE]
    lines = [f"line {frame.lineno}, in {frame.name}: {frame.line}" for frame in frames[-max_frames:]]
    return "\n".join([*lines, "".join(traceback.format_exception_only(error)).strip()])
