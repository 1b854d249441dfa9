"""Weighted sums of parallel paths. Shapes: B batch, T time, H heads, V value dim per head, P paths."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def fuse_paths(paths: Sequence[Tensor], weights: Tensor) -> Tensor:
    """o_BTHV = sum_p weights_BTHP[..., p] * paths[p]; see `kernels.reference.fuse_paths`. Never stacks the paths."""
    dtype = torch.float64 if paths[0].dtype == torch.float64 else torch.float32
    weight_of_path = weights.to(dtype).unsqueeze(-1).unbind(-2)
    out_BTHV = weight_of_path[0] * paths[0].to(dtype)
    for weight_BTH1, path_BTHV in zip(weight_of_path[1:], paths[1:], strict=True):
        out_BTHV = torch.addcmul(out_BTHV, weight_BTH1, path_BTHV.to(dtype))
    return out_BTHV.to(paths[0].dtype)
