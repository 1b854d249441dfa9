"""Token mixers in flash-linear-attention's style, made callable as a host's own: x_BTD -> o_BTD, and `step`.

Nothing here but torch and the stand-in's cache: exported models carry this file along.

Shapes: B batch, T time, D model width.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from models.fla_standin.cache import Cache

# Under which names constructors in flash-linear-attention's style take what the host decides; the first found is used.
_ARGUMENT_NAMES = {
    "hidden_size": ("hidden_size", "d_model"),
    "num_heads": ("num_heads", "num_attention_heads", "n_heads"),
    "layer_idx": ("layer_idx",),
    "head_dim": ("head_dim",),
}


class LoadError(Exception):
    """The source does not define a usable entry class; the message ends with the candidate's own lines."""


def in_host_style(mixer_class: type[nn.Module]) -> type[nn.Module]:
    """The class itself where its forward takes x first, else a subclass that is built and called as hosts do.

    `models.loading.load_mixer` says how. Raises LoadError.
    """
    if [*_parameters(mixer_class.forward)][1:2] != ["hidden_states"]:
        return mixer_class
    constructor = {name: item for name, item in _parameters(mixer_class.__init__).items() if name != "self"}
    _refuse_unknown_arguments(mixer_class, constructor)

    def build(self: nn.Module, hidden_size: int, num_heads: int, layer_idx: int = 0, **kwargs: Any) -> None:
        chosen = _arguments(constructor, hidden_size, num_heads, layer_idx)
        mixer_class.__init__(self, **{**chosen, **kwargs})

    def forward(self: nn.Module, x: Tensor, **kwargs: Any) -> Any:
        result = mixer_class.forward(self, x, **kwargs)
        return result[0] if isinstance(result, tuple) else result

    contents: dict[str, Any] = {"__init__": build, "forward": forward, "__module__": mixer_class.__module__}
    if {"past_key_values", "use_cache"} <= set(_parameters(mixer_class.forward)) and not hasattr(mixer_class, "step"):
        contents["step"] = _step_of(mixer_class)
    return type(mixer_class.__name__, (mixer_class,), contents)


def _step_of(mixer_class: type[nn.Module]) -> Any:
    def step(self: nn.Module, x_BD: Tensor, state: Cache | None = None) -> tuple[Tensor, Cache]:
        """One step of decoding: y_BD and the state for the next one. NotImplementedError where the layer keeps none."""
        # Layers may rewrite their states in place; the caller's stays as it was.
        cache = Cache() if state is None else state.copied()
        result = mixer_class.forward(self, x_BD.unsqueeze(1), past_key_values=cache, use_cache=True)
        if not cache.get_seq_length(getattr(self, "layer_idx", None)):
            raise NotImplementedError(f"{mixer_class.__name__} takes past_key_values and never updates them")
        return (result[0] if isinstance(result, tuple) else result).squeeze(1), cache

    return step


def _arguments(
    constructor: Mapping[str, inspect.Parameter], hidden_size: int, num_heads: int, layer_idx: int
) -> dict[str, int]:
    values = {
        "hidden_size": hidden_size,
        "num_heads": num_heads,
        "layer_idx": layer_idx,
        "head_dim": hidden_size // num_heads,
    }
    chosen: dict[str, int] = {}
    for meaning, names in _ARGUMENT_NAMES.items():
        name = next((name for name in names if name in constructor), None)
        if name is not None:
            chosen[name] = values[meaning]
    if not any(name in chosen for name in _ARGUMENT_NAMES["hidden_size"]) and _takes_any_keyword(constructor):
        # It names no width and hands its keywords on, to a base class as a rule.
        return {**{name: values[name] for name in ("hidden_size", "num_heads", "layer_idx")}, **chosen}
    return chosen


def _refuse_unknown_arguments(mixer_class: type[nn.Module], constructor: Mapping[str, inspect.Parameter]) -> None:
    known = {name for names in _ARGUMENT_NAMES.values() for name in names}
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    unknown = [
        name
        for name, item in constructor.items()
        if item.default is inspect.Parameter.empty
        and (item.kind is inspect.Parameter.POSITIONAL_ONLY or (item.kind in named and name not in known))
    ]
    if unknown:
        raise LoadError(
            f"{mixer_class.__name__} needs the arguments {', '.join(unknown)}, which the host does not have: give them "
            f"defaults; it passes {', '.join(sorted(known))} where the constructor names them"
        )


def _takes_any_keyword(constructor: Mapping[str, inspect.Parameter]) -> bool:
    return any(item.kind is inspect.Parameter.VAR_KEYWORD for item in constructor.values())


def _parameters(function: Any) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}
