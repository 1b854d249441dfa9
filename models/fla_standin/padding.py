"""fla.layers.utils: dropping padding from a batch and putting it back, and a layer's part of a cache.

Shapes: B batch, T time, P tokens that are not padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from models.fla_standin.packing import prepare_cu_seqlens_from_mask, prepare_lens_from_mask


class LayerStates(Protocol):
    """What layers ask of `fla.models.utils.Cache`."""

    def __len__(self) -> int: ...
    def __getitem__(self, layer_idx: int) -> Any: ...
    def update(self, *, layer_idx: int, **kwargs: Any) -> Any: ...


def get_unpad_data(attention_mask: Tensor) -> tuple[Tensor, Tensor, int]:
    """Places of the valid tokens in the flattened batch [P], borders of the rows [B + 1], length of the longest."""
    lens_B = prepare_lens_from_mask(attention_mask)
    indices_P = attention_mask.flatten().nonzero().flatten()
    return indices_P, prepare_cu_seqlens_from_mask(attention_mask), int(lens_B.max())


def index_first_axis(x: Tensor, indices: Tensor) -> Tensor:
    """x[indices]."""
    return x[indices.long()]


def index_put_first_axis(x: Tensor, indices: Tensor, first_axis_dim: int) -> Tensor:
    """Zeros of length `first_axis_dim` with x at `indices`."""
    return x.new_zeros(first_axis_dim, *x.shape[1:]).index_copy(0, indices.long(), x)


def pad_input(hidden_states: Tensor, indices: Tensor, batch_size: int, seq_len: int) -> Tensor:
    """[P, ...] back to [B, T, ...], zeros where padding was."""
    padded = index_put_first_axis(hidden_states, indices, batch_size * seq_len)
    return padded.view(batch_size, seq_len, *hidden_states.shape[1:])


def unpad_input(
    q: Tensor | Sequence[Tensor],
    states: Sequence[Tensor],
    attention_mask: Tensor,
    q_len: int,
    keepdim: bool = False,
) -> tuple[Any, tuple[Tensor, ...], Tensor, tuple[Tensor, Tensor], tuple[int, int]]:
    """Queries and states without padding, the queries' places, borders and longest lengths of both.

    Queries are as long as the states, or one step each. `keepdim` leaves a first dimension of 1.

    Raises:
        NotImplementedError: queries of another length.
    """
    indices_P, borders, longest = get_unpad_data(attention_mask)
    queries = (q,) if isinstance(q, Tensor) else tuple(q)
    valid = tuple(index_first_axis(state.flatten(0, 1), indices_P) for state in states)
    if q_len == states[0].shape[1]:
        queries = tuple(index_first_axis(query.flatten(0, 1), indices_P) for query in queries)
        places, q_borders, q_longest = indices_P, borders, longest
    elif q_len == 1:
        q_borders = torch.arange(states[0].shape[0] + 1, dtype=torch.int32, device=queries[0].device)
        places, q_longest = q_borders[:-1], 1
        queries = tuple(query.squeeze(1) for query in queries)
    else:
        raise NotImplementedError(f"q_len is {q_len}; give all {states[0].shape[1]} steps of the states, or one")
    if keepdim:
        queries, valid = tuple(x.unsqueeze(0) for x in queries), tuple(x.unsqueeze(0) for x in valid)
    return queries[0] if isinstance(q, Tensor) else queries, valid, places, (q_borders, borders), (q_longest, longest)


def require_cache_layer_idx(module: Any, past_key_values: LayerStates | None) -> int | None:
    """The module's `layer_idx`; ValueError if there is a cache and no index."""
    layer_idx: int | None = getattr(module, "layer_idx", None)
    if past_key_values is not None and layer_idx is None:
        raise ValueError(f"{type(module).__name__} has no layer_idx, which a cache needs: build it with layer_idx=...")
    return layer_idx


def get_layer_cache(module: Any, past_key_values: LayerStates | None) -> Any:
    """The states that the module's layer left in the cache, None if there are none."""
    layer_idx = require_cache_layer_idx(module, past_key_values)
    if past_key_values is None or layer_idx is None or len(past_key_values) <= layer_idx:
        return None
    return past_key_values[layer_idx]


def update_layer_cache(module: Any, past_key_values: LayerStates | None, **kwargs: Any) -> Any:
    """Store states under the module's layer; None without a cache."""
    layer_idx = require_cache_layer_idx(module, past_key_values)
    if past_key_values is None or layer_idx is None:
        return None
    return past_key_values.update(layer_idx=layer_idx, **kwargs)
