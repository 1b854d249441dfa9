"""The operators that mixers are written against: inputs checked, one visible rule for who computes.

The rule, today: `kernels.chunkwise` computes. KERNELS_BACKEND=reference or =chunkwise in the environment forces one; it
is read at every call.

Layout is [B, T, H, K | V], any T from 1 up; q is multiplied by `scale`, K**-0.5 where that is None. Results have the
dtype of v (of x, of the first path); states are float32 (float64 for float64 inputs), under autocast too. All operators
are causal. Equations and papers are in `kernels.reference`.

Shapes: B batch, T time, H heads, K key dim per head, V value dim per head, D width, W taps, P paths.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch
from torch import Tensor

from kernels import chunkwise, reference

BACKEND_VARIABLE = "KERNELS_BACKEND"


class Operators(Protocol):
    """What a backend has to offer; modules are backends."""

    def linear_attn(
        self, q: Tensor, k: Tensor, v: Tensor, *, normalize: bool = False, scale: float | None = None
    ) -> Tensor: ...
    def retention(self, q: Tensor, k: Tensor, v: Tensor, *, scale: float | None = None) -> Tensor: ...
    def simple_gla(self, q: Tensor, k: Tensor, v: Tensor, g: Tensor, *, scale: float | None = None) -> Tensor: ...
    def gla(self, q: Tensor, k: Tensor, v: Tensor, g: Tensor, *, scale: float | None = None) -> Tensor: ...
    def delta_rule(self, q: Tensor, k: Tensor, v: Tensor, beta: Tensor, *, scale: float | None = None) -> Tensor: ...
    def gated_delta_rule(
        self, q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, *, scale: float | None = None
    ) -> Tensor: ...
    def causal_conv(self, x: Tensor, weight: Tensor) -> Tensor: ...
    def fuse_paths(self, paths: Sequence[Tensor], weights: Tensor) -> Tensor: ...


BACKENDS: dict[str, Operators] = {"reference": reference, "chunkwise": chunkwise}


def backend() -> Operators:
    """The backend in force. ValueError if the environment names one that does not exist."""
    name = os.environ.get(BACKEND_VARIABLE) or "chunkwise"
    if name not in BACKENDS:
        raise ValueError(f"{BACKEND_VARIABLE}={name!r} is no backend: use one of {', '.join(BACKENDS)}, or unset it")
    return BACKENDS[name]


def linear_attn(q: Tensor, k: Tensor, v: Tensor, *, normalize: bool = False, scale: float | None = None) -> Tensor:
    """o_BTHV: o_t = sum over s <= t of (q_t . k_s) v_s; `normalize` divides by q_t . sum k_s + 1e-6."""
    _check_qkv(q, k, v)
    with _full_precision(q):
        return backend().linear_attn(q, k, v, normalize=normalize, scale=scale)


def retention(q: Tensor, k: Tensor, v: Tensor, *, scale: float | None = None) -> Tensor:
    """o_BTHV: linear attention whose head h decays by 1 - 2^(-5-h) a step."""
    _check_qkv(q, k, v)
    with _full_precision(q):
        return backend().retention(q, k, v, scale=scale)


def simple_gla(q: Tensor, k: Tensor, v: Tensor, g: Tensor, *, scale: float | None = None) -> Tensor:
    """o_BTHV: linear attention with log decay g_BTH <= 0, one for each head and step."""
    _check_qkv(q, k, v)
    _check_gate("g", g, k.shape[:3], "BTH")
    with _full_precision(q):
        return backend().simple_gla(q, k, v, g, scale=scale)


def gla(q: Tensor, k: Tensor, v: Tensor, g: Tensor, *, scale: float | None = None) -> Tensor:
    """o_BTHV: linear attention with log decay g_BTHK <= 0, one for each key channel and step."""
    _check_qkv(q, k, v)
    _check_gate("g", g, k.shape, "BTHK")
    with _full_precision(q):
        return backend().gla(q, k, v, g, scale=scale)


def delta_rule(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, *, scale: float | None = None) -> Tensor:
    """o_BTHV: S_t = S_(t-1) (I - beta k k^T) + beta v k^T with beta_BTH; give k unit norm, or states may grow."""
    _check_qkv(q, k, v)
    _check_gate("beta", beta, k.shape[:3], "BTH")
    with _full_precision(q):
        return backend().delta_rule(q, k, v, beta, scale=scale)


def gated_delta_rule(q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, *, scale: float | None = None) -> Tensor:
    """o_BTHV: S_t = exp(g) S_(t-1) (I - beta k k^T) + beta v k^T with g_BTH <= 0 and beta_BTH; k as in `delta_rule`."""
    _check_qkv(q, k, v)
    _check_gate("g", g, k.shape[:3], "BTH")
    _check_gate("beta", beta, k.shape[:3], "BTH")
    with _full_precision(q):
        return backend().gated_delta_rule(q, k, v, g, beta, scale=scale)


def causal_conv(x: Tensor, weight: Tensor) -> Tensor:
    """y_BTD: depthwise causal FIR filter of x_BTD with weight_DW; weight[:, -1] multiplies the current step."""
    if x.dim() != 3 or x.shape[1] < 1:
        raise ValueError(f"x has shape {_shape(x)}; causal_conv takes [B, T, D] with T >= 1: flatten heads into D")
    if weight.dim() != 2 or weight.shape[0] != x.shape[2] or weight.shape[1] < 1:
        raise ValueError(f"weight has shape {_shape(weight)}; for x {_shape(x)} it has to be [{x.shape[2]}, taps]")
    with _full_precision(x):
        return backend().causal_conv(x, weight)


def fuse_paths(paths: Sequence[Tensor], weights: Tensor) -> Tensor:
    """o_BTHV: sum over p of weights_BTHP[..., p] * paths[p], each path [B, T, H, V]."""
    if not paths:
        raise ValueError("paths is empty; give at least one tensor [B, T, H, V]")
    shapes = sorted({_shape(path) for path in paths})
    if len(shapes) > 1 or paths[0].dim() != 4:
        raise ValueError(f"paths have shapes {shapes}; all have to be the same [B, T, H, V]")
    if weights.shape != (*paths[0].shape[:3], len(paths)):
        wanted = [*paths[0].shape[:3], len(paths)]
        raise ValueError(f"weights has shape {_shape(weights)}; for {len(paths)} paths it has to be {wanted}")
    with _full_precision(weights):
        return backend().fuse_paths(paths, weights)


def _check_qkv(q: Tensor, k: Tensor, v: Tensor) -> None:
    if q.dim() != 4 or q.shape[1] < 1:
        raise ValueError(f"q has shape {_shape(q)}; operators take [B, T, H, K] with T >= 1")
    if k.shape != q.shape:
        raise ValueError(f"k has shape {_shape(k)} and q {_shape(q)}; both have to be the same [B, T, H, K]")
    if v.dim() != 4 or v.shape[:3] != q.shape[:3]:
        raise ValueError(f"v has shape {_shape(v)}; for q {_shape(q)} it has to be {[*q.shape[:3], 'V']}")
    for name, x in (("q", q), ("k", k), ("v", v)):
        if not x.is_floating_point():
            raise ValueError(f"{name} has dtype {x.dtype}; operators take floating point: cast it with .to(x.dtype)")


def _check_gate(name: str, gate: Tensor, shape: torch.Size, legend: str) -> None:
    if gate.shape != shape:
        raise ValueError(f"{name} has shape {_shape(gate)}; it has to be {list(shape)} ({legend})")


def _shape(x: Tensor) -> str:
    return str(list(x.shape))


def _full_precision(x: Tensor) -> AbstractContextManager[object]:
    kind = x.device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        return torch.autocast(kind, enabled=False)
    return nullcontext()
