"""Norm classes of fla.modules, with fla's arguments, parameter names and repr; the arithmetic is in `norms`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.fla_standin import norms
from models.fla_standin.norms import Normed


class _Norm(nn.Module):
    """Scale and, if asked for, shift over `hidden_size` channels."""

    def __init__(
        self,
        hidden_size: int,
        elementwise_affine: bool = True,
        bias: bool = False,
        eps: float = 1e-5,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.elementwise_affine = elementwise_affine
        self.eps = eps
        self.weight: nn.Parameter | None
        self.bias: nn.Parameter | None
        self.register_parameter("weight", None)
        self.register_parameter("bias", None)
        if elementwise_affine:
            self.weight = nn.Parameter(torch.empty(hidden_size, device=device, dtype=dtype))
            if bias:
                self.bias = nn.Parameter(torch.empty(hidden_size, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Scale 1, shift 0."""
        if self.weight is not None:
            nn.init.ones_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def extra_repr(self) -> str:
        affine = "" if self.elementwise_affine else f", elementwise_affine={self.elementwise_affine}"
        return f"{self.hidden_size}{affine}, eps={self.eps}"


class LayerNorm(_Norm):
    """Layer norm over the last dimension."""

    def forward(
        self, x: Tensor, residual: Tensor | None = None, prenorm: bool = False, residual_in_fp32: bool = False
    ) -> Normed:
        return norms.layer_norm(x, self.weight, self.bias, residual, self.eps, prenorm, residual_in_fp32)


class RMSNorm(_Norm):
    """RMS norm over the last dimension."""

    def forward(
        self, x: Tensor, residual: Tensor | None = None, prenorm: bool = False, residual_in_fp32: bool = False
    ) -> Normed:
        return norms.rms_norm(x, self.weight, self.bias, residual, self.eps, prenorm, residual_in_fp32)


class GroupNorm(_Norm):
    """Norm over groups of the last dimension's channels; nothing is taken over time."""

    def __init__(
        self,
        num_groups: int,
        hidden_size: int,
        elementwise_affine: bool = True,
        bias: bool = False,
        eps: float = 1e-5,
        is_rms_norm: bool = False,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if hidden_size % num_groups:
            raise ValueError(f"hidden_size {hidden_size} is no multiple of num_groups {num_groups}")
        super().__init__(hidden_size, elementwise_affine, bias, eps, device, dtype)
        self.num_groups = num_groups
        self.is_rms_norm = is_rms_norm

    def forward(
        self, x: Tensor, residual: Tensor | None = None, prenorm: bool = False, residual_in_fp32: bool = False
    ) -> Normed:
        return norms.group_norm(
            x,
            self.weight,
            self.bias,
            residual,
            self.eps,
            prenorm,
            residual_in_fp32,
            self.is_rms_norm,
            self.num_groups,
        )


class LayerNormLinear(_Norm):
    """Layer norm, then a linear map whose weights are given at each call."""

    is_rms_norm = False

    def forward(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        residual: Tensor | None = None,
        prenorm: bool = False,
        residual_in_fp32: bool = False,
    ) -> Normed:
        return norms.layer_norm_linear(
            x, self.weight, self.bias, weight, bias, residual, self.eps, prenorm, residual_in_fp32, self.is_rms_norm
        )


class RMSNormLinear(LayerNormLinear):
    """RMS norm, then a linear map whose weights are given at each call."""

    is_rms_norm = True


class GroupNormLinear(GroupNorm):
    """Group norm, then a linear map whose weights are given at each call."""

    def forward(  # type: ignore[override]
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        residual: Tensor | None = None,
        prenorm: bool = False,
        residual_in_fp32: bool = False,
    ) -> Normed:
        return norms.group_norm_linear(
            x,
            self.weight,
            self.bias,
            weight,
            bias,
            residual,
            self.eps,
            prenorm,
            residual_in_fp32,
            self.is_rms_norm,
            self.num_groups,
        )


class FusedLayerNormGated(_Norm):
    """Layer norm of x times swish or sigmoid of g."""

    is_rms_norm = False

    def __init__(
        self,
        hidden_size: int,
        elementwise_affine: bool = True,
        bias: bool = False,
        activation: str = "swish",
        eps: float = 1e-5,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(hidden_size, elementwise_affine, bias, eps, device, dtype)
        self.activation = activation
        norms.gate_of(torch.zeros(1), activation)  # refuses what it does not know

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, activation={self.activation}"

    def forward(
        self,
        x: Tensor,
        g: Tensor,
        residual: Tensor | None = None,
        prenorm: bool = False,
        residual_in_fp32: bool = False,
    ) -> Normed:
        return norms.layer_norm_gated(
            x,
            g,
            self.weight,
            self.bias,
            self.activation,
            residual,
            prenorm,
            residual_in_fp32,
            self.eps,
            is_rms_norm=self.is_rms_norm,
        )


class FusedRMSNormGated(FusedLayerNormGated):
    """RMS norm of x times swish or sigmoid of g."""

    is_rms_norm = True

    def __init__(
        self,
        hidden_size: int,
        elementwise_affine: bool = True,
        eps: float = 1e-5,
        activation: str = "swish",
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(hidden_size, elementwise_affine, False, activation, eps, device, dtype)


class FusedLayerNormSwishGate(FusedLayerNormGated):
    """The old name, swish alone."""

    def __init__(
        self,
        hidden_size: int,
        elementwise_affine: bool = True,
        bias: bool = False,
        eps: float = 1e-5,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(hidden_size, elementwise_affine, bias, "swish", eps, device, dtype)


class FusedRMSNormSwishGate(FusedRMSNormGated):
    """The old name, swish alone."""

    def __init__(
        self,
        hidden_size: int,
        elementwise_affine: bool = True,
        eps: float = 1e-5,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(hidden_size, elementwise_affine, eps, "swish", device, dtype)


class FusedLayerNormSwishGateLinear(_Norm):
    """Layer norm of x times swish of g, then a linear map whose weights are given at each call."""

    is_rms_norm = False

    def __init__(
        self,
        hidden_size: int,
        elementwise_affine: bool = True,
        eps: float = 1e-5,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(hidden_size, elementwise_affine, False, eps, device, dtype)

    def forward(
        self,
        x: Tensor,
        g: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        residual: Tensor | None = None,
        prenorm: bool = False,
        residual_in_fp32: bool = False,
    ) -> Normed:
        return norms.layer_norm_swish_gate_linear(
            x,
            g,
            self.weight,
            self.bias,
            weight,
            bias,
            residual,
            prenorm,
            residual_in_fp32,
            self.eps,
            is_rms_norm=self.is_rms_norm,
        )


class FusedRMSNormSwishGateLinear(FusedLayerNormSwishGateLinear):
    """RMS norm of x times swish of g, then a linear map whose weights are given at each call."""

    is_rms_norm = True


class _MambaNorm(nn.Module):
    """Norm in groups of channels with a gate before or behind it, as Mamba-2 has it."""

    is_rms_norm = False

    def __init__(
        self,
        hidden_size: int,
        eps: float = 1e-5,
        group_size: int | None = None,
        norm_before_gate: bool = True,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.eps = eps
        self.group_size = group_size
        self.norm_before_gate = norm_before_gate
        self.weight = nn.Parameter(torch.ones(hidden_size, device=device, dtype=dtype))
        self.bias: nn.Parameter | None
        if self.is_rms_norm:
            self.register_parameter("bias", None)
        else:
            self.bias = nn.Parameter(torch.zeros(hidden_size, device=device, dtype=dtype))

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        return norms.layernorm_fn(
            x, self.weight, self.bias, z, self.eps, self.group_size, self.norm_before_gate, self.is_rms_norm
        )


class LayerNormGated(_MambaNorm):
    """norm(x) * silu(z), or norm(x * silu(z))."""


class RMSNormGated(_MambaNorm):
    """norm(x * silu(z)), or norm(x) * silu(z)."""

    is_rms_norm = True

    def __init__(
        self,
        hidden_size: int,
        eps: float = 1e-5,
        group_size: int | None = None,
        norm_before_gate: bool = False,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(hidden_size, eps, group_size, norm_before_gate, device, dtype)


class L2Norm(nn.Module):
    """x / sqrt(sum of squares + eps)."""

    def __init__(self, eps: float = 1e-6, output_dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.eps = eps
        self.output_dtype = output_dtype

    def forward(self, x: Tensor) -> Tensor:
        return norms.l2norm(x, self.eps, self.output_dtype)
