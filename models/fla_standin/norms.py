"""Norms of `fla.modules.layernorm`, `layernorm_gated`, `fused_norm_gate` and `l2norm`, as functions.

Statistics are taken over the last dimension alone, in float32 (float64 for float64 inputs); results have x's type. The
classes are in `norm_layers`. Sources: Ba et al. 2016 (arXiv 1607.06450), Zhang and Sennrich 2019 (arXiv 1910.07467), Wu
and He 2018 (arXiv 1803.08494).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from models.fla_standin.recurrence import state_dtype

Normed = Tensor | tuple[Tensor, Tensor]


def normalised(x: Tensor, eps: float, *, is_rms_norm: bool, num_groups: int = 1) -> Tensor:
    """x with unit mean square (rms) or zero mean and unit variance in each of its groups of channels."""
    grouped = x.reshape(*x.shape[:-1], num_groups, -1)
    if not is_rms_norm:
        grouped = grouped - grouped.mean(-1, keepdim=True)
    return (grouped * torch.rsqrt(grouped.square().mean(-1, keepdim=True) + eps)).flatten(-2)


def affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """x * weight + bias in x's type, each where given."""
    if weight is not None:
        x = x * weight.to(x.dtype)
    return x if bias is None else x + bias.to(x.dtype)


def group_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    residual: Tensor | None = None,
    eps: float = 1e-5,
    prenorm: bool = False,
    residual_in_fp32: bool = False,
    is_rms_norm: bool = False,
    num_groups: int = 1,
) -> Normed:
    """Norm of x (+ residual) over groups of channels; with `prenorm` also the sum that was normed."""
    total, kept = _with_residual(x, residual, residual_in_fp32)
    out = affine(normalised(total, eps, is_rms_norm=is_rms_norm, num_groups=num_groups), weight, bias).to(x.dtype)
    return (out, kept) if prenorm else out


def layer_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    residual: Tensor | None = None,
    eps: float = 1e-5,
    prenorm: bool = False,
    residual_in_fp32: bool = False,
    is_rms_norm: bool = False,
) -> Normed:
    """Layer norm (or RMS norm) of x + residual."""
    return group_norm(x, weight, bias, residual, eps, prenorm, residual_in_fp32, is_rms_norm)


def rms_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    residual: Tensor | None = None,
    eps: float = 1e-5,
    prenorm: bool = False,
    residual_in_fp32: bool = False,
) -> Normed:
    """RMS norm of x + residual."""
    return group_norm(x, weight, bias, residual, eps, prenorm, residual_in_fp32, is_rms_norm=True)


def group_norm_linear(
    x: Tensor,
    norm_weight: Tensor | None,
    norm_bias: Tensor | None,
    linear_weight: Tensor,
    linear_bias: Tensor | None,
    residual: Tensor | None = None,
    eps: float = 1e-5,
    prenorm: bool = False,
    residual_in_fp32: bool = False,
    is_rms_norm: bool = False,
    num_groups: int = 1,
) -> Normed:
    """A linear map behind `group_norm`."""
    total, kept = _with_residual(x, residual, residual_in_fp32)
    normed = affine(normalised(total, eps, is_rms_norm=is_rms_norm, num_groups=num_groups), norm_weight, norm_bias)
    out = F.linear(normed.to(linear_weight.dtype), linear_weight, linear_bias)
    return (out, kept) if prenorm else out


def layer_norm_linear(
    x: Tensor,
    norm_weight: Tensor | None,
    norm_bias: Tensor | None,
    linear_weight: Tensor,
    linear_bias: Tensor | None,
    residual: Tensor | None = None,
    eps: float = 1e-5,
    prenorm: bool = False,
    residual_in_fp32: bool = False,
    is_rms_norm: bool = False,
    num_groups: int = 1,
) -> Normed:
    """A linear map behind `layer_norm`."""
    return group_norm_linear(
        x, norm_weight, norm_bias, linear_weight, linear_bias, residual, eps, prenorm, residual_in_fp32, is_rms_norm,
        num_groups,
    )  # fmt: skip


def rms_norm_linear(
    x: Tensor,
    norm_weight: Tensor | None,
    norm_bias: Tensor | None,
    linear_weight: Tensor,
    linear_bias: Tensor | None,
    residual: Tensor | None = None,
    eps: float = 1e-5,
    prenorm: bool = False,
    residual_in_fp32: bool = False,
) -> Normed:
    """A linear map behind `rms_norm`."""
    return group_norm_linear(
        x, norm_weight, norm_bias, linear_weight, linear_bias, residual, eps, prenorm, residual_in_fp32, True
    )


def layer_norm_gated(
    x: Tensor,
    g: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    activation: str = "swish",
    residual: Tensor | None = None,
    prenorm: bool = False,
    residual_in_fp32: bool = False,
    eps: float = 1e-6,
    *,
    is_rms_norm: bool = False,
) -> Normed:
    """norm(x + residual) * activation(g), the gate taken before rounding to x's type."""
    total, kept = _with_residual(x, residual, residual_in_fp32)
    normed = affine(normalised(total, eps, is_rms_norm=is_rms_norm), weight, bias)
    out = (normed * gate_of(g.to(normed.dtype), activation)).to(x.dtype)
    return (out, kept) if prenorm else out


def rms_norm_gated(
    x: Tensor,
    g: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    activation: str = "swish",
    residual: Tensor | None = None,
    prenorm: bool = False,
    residual_in_fp32: bool = False,
    eps: float = 1e-6,
) -> Normed:
    """`layer_norm_gated` with an RMS norm."""
    return layer_norm_gated(x, g, weight, bias, activation, residual, prenorm, residual_in_fp32, eps, is_rms_norm=True)


def layer_norm_swish_gate_linear(
    x: Tensor,
    g: Tensor,
    norm_weight: Tensor | None,
    norm_bias: Tensor | None,
    linear_weight: Tensor,
    linear_bias: Tensor | None,
    residual: Tensor | None = None,
    prenorm: bool = False,
    residual_in_fp32: bool = False,
    eps: float = 1e-6,
    *,
    is_rms_norm: bool = False,
) -> Normed:
    """A linear map behind `layer_norm_gated` with swish."""
    total, kept = _with_residual(x, residual, residual_in_fp32)
    normed = affine(normalised(total, eps, is_rms_norm=is_rms_norm), norm_weight, norm_bias)
    gated = normed * F.silu(g.to(normed.dtype))
    out = F.linear(gated.to(linear_weight.dtype), linear_weight, linear_bias)
    return (out, kept) if prenorm else out


def rms_norm_swish_gate_linear(
    x: Tensor,
    g: Tensor,
    norm_weight: Tensor | None,
    norm_bias: Tensor | None,
    linear_weight: Tensor,
    linear_bias: Tensor | None,
    residual: Tensor | None = None,
    prenorm: bool = False,
    residual_in_fp32: bool = False,
    eps: float = 1e-6,
) -> Normed:
    """A linear map behind `rms_norm_gated` with swish."""
    return layer_norm_swish_gate_linear(
        x, g, norm_weight, norm_bias, linear_weight, linear_bias, residual, prenorm, residual_in_fp32, eps,
        is_rms_norm=True,
    )  # fmt: skip


def layernorm_fn(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    z: Tensor | None = None,
    eps: float = 1e-6,
    group_size: int | None = None,
    norm_before_gate: bool = True,
    is_rms_norm: bool = False,
) -> Tensor:
    """Mamba-2's gated norm: norm(x) * silu(z), or norm(x * silu(z)); groups of `group_size` channels."""
    dtype = state_dtype(x)
    gate = None if z is None else F.silu(z.to(dtype))
    value = x.to(dtype)
    if gate is not None and not norm_before_gate:
        value = value * gate
    num_groups = 1 if group_size is None else x.shape[-1] // group_size
    out = affine(normalised(value, eps, is_rms_norm=is_rms_norm, num_groups=num_groups), weight, bias)
    if gate is not None and norm_before_gate:
        out = out * gate
    return out.to(x.dtype)


def rmsnorm_fn(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    z: Tensor | None = None,
    eps: float = 1e-6,
    group_size: int | None = None,
    norm_before_gate: bool = True,
) -> Tensor:
    """`layernorm_fn` with an RMS norm."""
    return layernorm_fn(x, weight, bias, z, eps, group_size, norm_before_gate, True)


def l2norm(x: Tensor, eps: float = 1e-6, output_dtype: torch.dtype | None = None) -> Tensor:
    """x / sqrt(sum of squares over the last dimension + eps)."""
    value = x.to(state_dtype(x))
    return (value * torch.rsqrt(value.square().sum(-1, keepdim=True) + eps)).to(output_dtype or x.dtype)


def gate_of(g: Tensor, activation: str) -> Tensor:
    """swish(g) or sigmoid(g)."""
    if activation in ("swish", "silu"):
        return F.silu(g)
    if activation == "sigmoid":
        return torch.sigmoid(g)
    raise ValueError(f"activation is {activation!r}; use swish, silu or sigmoid")


def _with_residual(x: Tensor, residual: Tensor | None, residual_in_fp32: bool) -> tuple[Tensor, Tensor]:
    """x + residual to be normed, and the same in the type in which it is handed on."""
    total = x.to(state_dtype(x))
    if residual is None:
        return total, total if residual_in_fp32 else x
    total = total + residual.to(total.dtype)
    return total, total.to(residual.dtype)
