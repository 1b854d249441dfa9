"""fla.models.utils.Cache: what layers carry from call to call in decoding.

Not there: what transformers' generation asks of a cache (offloading, masks, beam reordering).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

_KINDS = ("recurrent_state", "attn_state", "conv_state", "ffn_state")


class Cache:
    """`recurrent_state`, `attn_state`, `conv_state` and `ffn_state` of each layer, and the tokens that it has seen."""

    is_compileable = True

    def __init__(self, seen_tokens: int = 0, **kwargs: Any) -> None:
        self.states: list[dict[str, Any] | None] = []
        self._seen: list[int] = []
        self._seen_tokens = int(seen_tokens)

    def update(
        self,
        recurrent_state: Any = None,
        attn_state: Any = None,
        conv_state: Any = None,
        ffn_state: Any = None,
        layer_idx: int = 0,
        offset: int | None = 1,
        cache_kwargs: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Store what is not None, `attn_state` behind what is there, and count `offset` tokens; returns the states.

        `cache_kwargs["window_size"]` keeps the last steps of `attn_state` alone.
        """
        while len(self.states) <= layer_idx:
            self.states.append(None)
            self._seen.append(0)
        found = self.states[layer_idx]
        states = dict.fromkeys(_KINDS) if found is None else found
        self.states[layer_idx] = states
        for name, value in (("recurrent_state", recurrent_state), ("conv_state", conv_state), ("ffn_state", ffn_state)):
            if value is not None:
                states[name] = value
        num_tokens = 1 if offset is None else offset
        if attn_state is not None:
            if not isinstance(attn_state, tuple | list):
                raise ValueError(f"attn_state is {type(attn_state).__name__}; give a tuple of tensors [B, T, ...]")
            num_tokens = attn_state[0].shape[1]
            window = (cache_kwargs or {}).get("window_size")
            states["attn_state"] = _appended(states["attn_state"], tuple(attn_state), window)
        self._seen[layer_idx] += num_tokens
        return states

    def __getitem__(self, layer_idx: int) -> dict[str, Any] | None:
        if layer_idx >= len(self.states):
            raise KeyError(f"the cache has {len(self.states)} layers, {layer_idx} was asked for")
        return self.states[layer_idx]

    def __iter__(self) -> Iterator[dict[str, Any] | None]:
        return iter(self.states)

    def __len__(self) -> int:
        return len(self.states)

    def get_seq_length(self, layer_idx: int | None = 0, cache_position: Any = None) -> int:
        """Tokens that a layer has seen."""
        layer_idx = layer_idx or 0
        return self._seen[layer_idx] if layer_idx < len(self._seen) else 0

    def get_max_cache_shape(self, layer_idx: int = 0) -> int:
        """-1: states have no longest sequence."""
        return -1

    get_max_length = get_max_cache_shape

    def reset(self) -> None:
        """Forget everything."""
        self.states.clear()
        self._seen.clear()
        self._seen_tokens = 0

    def to_legacy_cache(self) -> tuple[dict[str, Any] | None, ...]:
        """The layers' states."""
        return tuple(self.states)

    @classmethod
    def from_legacy_cache(cls, past_key_values: Any = None, seen_tokens: int = 0, **kwargs: Any) -> Cache:
        """A cache of the layers' states, every one of which has seen `seen_tokens`."""
        cache = cls(seen_tokens)
        for states in past_key_values or ():
            cache.states.append({**dict.fromkeys(_KINDS), **states})
            cache._seen.append(seen_tokens)
        return cache

    def copied(self) -> Cache:
        """The same states in other tensors: layers may rewrite theirs in place. Not in fla."""
        cache = type(self)(self._seen_tokens)
        cache.states = [_copied(states) for states in self.states]
        cache._seen = list(self._seen)
        return cache


def _appended(old: tuple[Tensor, ...] | None, new: tuple[Tensor, ...], window: int | None) -> tuple[Tensor, ...]:
    whole = new if old is None else tuple(torch.cat(pair, 1) for pair in zip(old, new, strict=True))
    return whole if window is None else tuple(x[:, -window:].contiguous() for x in whole)


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_copied(item) for item in value)
    return value
