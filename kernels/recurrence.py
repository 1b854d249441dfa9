"""What the definitions of the sequence operators share: types, the empty state, writing to it and reading from it.

Shapes: B batch, T time, H heads, K key dim per head, V value dim per head. The state S_BHKV maps keys to values: its
columns are what the papers write as rows of S_t in R^(V x K), so that o_t = S_t^T q_t.
"""

from __future__ import annotations

import torch
from torch import Tensor

Result = tuple[Tensor, Tensor | None]  # o_BTHV, and the final state where it was asked for


def state_dtype(x: Tensor) -> torch.dtype:
    """What is computed in: float64 for float64 inputs, float32 for all others."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def scaled(q_BTHK: Tensor, scale: float | None) -> Tensor:
    """Queries in at least float32, multiplied by `scale`, or by K**-0.5 where it is None."""
    return q_BTHK.to(state_dtype(q_BTHK)) * (q_BTHK.shape[-1] ** -0.5 if scale is None else scale)


def first_state(k_BTHK: Tensor, v_BTHV: Tensor, initial_state: Tensor | None) -> Tensor:
    """The given state in the dtype that is computed in, or an empty one."""
    if initial_state is not None:
        return initial_state.to(state_dtype(v_BTHV))
    (batch, _, heads, key_dim), value_dim = k_BTHK.shape, v_BTHV.shape[-1]
    return torch.zeros(batch, heads, key_dim, value_dim, dtype=state_dtype(v_BTHV), device=v_BTHV.device)


def outer(k_BHK: Tensor, v_BHV: Tensor) -> Tensor:
    """k v^T for every row: what a step writes."""
    return k_BHK.unsqueeze(-1) * v_BHV.unsqueeze(-2)


def read(state_BHKV: Tensor, q_BHK: Tensor) -> Tensor:
    """S^T q for every row."""
    return (state_BHKV * q_BHK.unsqueeze(-1)).sum(-2)
