"""What the operators refuse: one line each with what, the value and the remedy, before anything computes.

TypeError for what is no tensor (or no sequence of them), ValueError for tensors that do not fit. Values of tensors are
not read, so as to wait for no device.

Shapes: B batch, T time, H heads, K key dim per head, V value dim per head, D width, P paths, N packed sequences.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from itertools import pairwise

from torch import Tensor

from kernels.packing import check_borders


def tensor(name: str, x: object, legend: str) -> None:
    """TypeError unless x is a tensor; the legend says of what shape."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} is {reprlib.repr(x)} ({type(x).__name__}); give a tensor {legend}")


def floating(name: str, x: Tensor, legend: str) -> None:
    """As `tensor`, and ValueError unless it is of floating point."""
    tensor(name, x, legend)
    if not x.is_floating_point():
        raise ValueError(f"{name} has dtype {x.dtype}; operators take floating point: cast it with .float()")


def sequence(q: Tensor, k: Tensor, v: Tensor) -> None:
    """q and k are [B, T, H, K], v is [B, T, H, V], none of them empty."""
    for name, x, legend in (("q", q, "[B, T, H, K]"), ("k", k, "[B, T, H, K]"), ("v", v, "[B, T, H, V]")):
        floating(name, x, legend)
    if q.dim() != 4 or 0 in q.shape:
        raise ValueError(f"q has shape {shape(q)}; operators take [B, T, H, K] with B, T, H and K >= 1")
    if k.shape != q.shape:
        raise ValueError(f"k has shape {shape(k)} and q {shape(q)}; both have to be the same [B, T, H, K]")
    if v.dim() != 4 or v.shape[:3] != q.shape[:3] or v.shape[3] < 1:
        raise ValueError(f"v has shape {shape(v)}; for q {shape(q)} it has to be {[*q.shape[:3], 'V']} with V >= 1")


def gate(name: str, x: Tensor, wanted: Sequence[int], legend: str) -> None:
    """A decay or writing strength of the given shape."""
    floating(name, x, f"{list(wanted)} ({legend})")
    if x.shape != tuple(wanted):
        raise ValueError(f"{name} has shape {shape(x)}; it has to be {list(wanted)} ({legend})")


def filtered(operator: str, x: Tensor, filters: Mapping[str, Tensor]) -> None:
    """x is [B, T, D], every filter [D, taps], none of them empty."""
    floating("x", x, "[B, T, D]")
    if x.dim() != 3 or 0 in x.shape:
        raise ValueError(
            f"x has shape {shape(x)}; {operator} takes [B, T, D] with B, T and D >= 1: flatten heads into D"
        )
    for name, weight in filters.items():
        floating(name, weight, f"[{x.shape[2]}, taps]")
        if weight.dim() != 2 or weight.shape[0] != x.shape[2] or weight.shape[1] < 1:
            raise ValueError(f"{name} has shape {shape(weight)}; for x {shape(x)} it has to be [{x.shape[2]}, taps]")


def continued(x: Tensor, cu_seqlens: Tensor | None, state: Tensor | None, width: Sequence[int]) -> None:
    """The borders of packed sequences, and a state [B, *width], [N, *width] where sequences are packed."""
    if cu_seqlens is not None:
        tensor("cu_seqlens", cu_seqlens, "of cumulative lengths [N + 1], as torch.tensor([0, 3, 8])")
        check_borders(cu_seqlens)
    if state is None:
        return
    wanted = [x.shape[0] if cu_seqlens is None else len(cu_seqlens) - 1, *width]
    floating("state", state, f"{wanted}, the one that was returned")
    if list(state.shape) != wanted:
        raise ValueError(f"state has shape {shape(state)}; it has to be {wanted}: give what was returned")


def gated_norm(x: Tensor, gate: Tensor, weight: Tensor, eps: float) -> None:
    """x and gate are [B, T, ..., V], weight is [V], eps is above 0."""
    for name, given, legend in (
        ("x", x, "[B, T, ..., V]"),
        ("gate", gate, "of the shape of x"),
        ("weight", weight, "[V]"),
    ):
        floating(name, given, legend)
    if x.dim() < 2 or x.shape[-1] < 1:
        raise ValueError(
            f"x has shape {shape(x)}; rms_norm_gated takes [B, T, ..., V] with V >= 1: add dimensions with x[None]"
        )
    if gate.shape != x.shape:
        raise ValueError(f"gate has shape {shape(gate)} and x {shape(x)}; both have to be the same")
    if weight.shape != x.shape[-1:]:
        raise ValueError(f"weight has shape {shape(weight)}; for x {shape(x)} it has to be {[x.shape[-1]]}")
    if not eps > 0:
        raise ValueError(f"eps is {eps}; it keeps the root of a mean from 0: give a number above 0, as 1e-5")


def paths(given: object) -> None:
    """A list or tuple of tensors, all of one shape [B, T, H, V]."""
    if isinstance(given, Tensor):
        raise TypeError(
            f"paths is one tensor of shape {shape(given)}; give a list of tensors [B, T, H, V], as paths.unbind(0)"
        )
    if not isinstance(given, Sequence):
        raise TypeError(f"paths is {reprlib.repr(given)} ({type(given).__name__}); give a list of tensors [B, T, H, V]")
    if not given:
        raise ValueError("paths is empty; give at least one tensor [B, T, H, V]")
    for number, path in enumerate(given):
        floating(f"paths[{number}]", path, "[B, T, H, V]")
    shapes = [list(path.shape) for path in given]
    unequal = next((b for a, b in pairwise(shapes) if a != b), None)
    if unequal is not None or given[0].dim() != 4:
        raise ValueError(f"paths have shapes {shapes}; all have to be the same [B, T, H, V]")


def shape(x: Tensor) -> str:
    """As users write it."""
    return str(list(x.shape))
