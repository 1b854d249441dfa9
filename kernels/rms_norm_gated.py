"""RMS norm with a gate: definition and fast form. Shapes: X any leading dimensions, V the width that is normalised."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from kernels.recurrence import state_dtype

ACTIVATIONS = ("swish", "silu", "sigmoid")


def definition(x: Tensor, gate: Tensor, weight: Tensor, *, eps: float = 1e-5, activation: str = "swish") -> Tensor:
    """y_XV = x / sqrt(mean(x^2) + eps) * weight_V * act(gate_XV), in x's dtype.

    Source: Zhang and Sennrich 2019, "Root Mean Square Layer Normalization" (arXiv 1910.07467), equation 4; behind the
    memory and under a gate as in Sun et al. 2023 (arXiv 2307.08621), equation 8.
    """
    dtype = state_dtype(x)
    wide, open_ = x.to(dtype), gate.to(dtype)
    normed = wide / (wide.square().mean(-1, keepdim=True) + eps).sqrt() * weight.to(dtype)
    factor = torch.sigmoid(open_) if activation == "sigmoid" else open_ * torch.sigmoid(open_)
    return (normed * factor).to(x.dtype)


def native(x: Tensor, gate: Tensor, weight: Tensor, *, eps: float = 1e-5, activation: str = "swish") -> Tensor:
    """The same by torch's own operators."""
    dtype = state_dtype(x)
    normed = F.rms_norm(x.to(dtype), (x.shape[-1],), weight.to(dtype), eps)
    opened = torch.sigmoid(gate.to(dtype)) if activation == "sigmoid" else F.silu(gate.to(dtype))
    return (normed * opened).to(x.dtype)
