"""Which implementation computes an operator: one rule over device, type and shape, and a variable that overrides it.

    definition   the recurrence of the paper, step by step      any device, any type
    torch        chunked or direct PyTorch                      any device, any type
    fla          flash-linear-attention's Triton kernels        CUDA, half precision
    triton       our own fused Triton kernels                   CUDA

The rule, first line that holds:

    1. KERNELS_BACKEND names implementations, separated by commas: the first of them that the operator has
    2. one step without gradients, as in decoding, off CUDA: definition
    3. CUDA, not float64: triton where there is one
    4. CUDA, bfloat16 or float16: fla where it is installed and has the operator (head sizes up to 256)
    5. torch

The environment is read at every call, so that a test or a user can force one at any time.
"""

from __future__ import annotations

import os
from collections.abc import Collection

import torch
from torch import Tensor

from kernels import fla_forms

BACKEND_VARIABLE = "KERNELS_BACKEND"
BACKENDS = ("definition", "torch", "fla", "triton")
_MOST_HEAD_DIM = 256


def choose(like: Tensor, offered: Collection[str], *, widest: int = 0) -> str:
    """The implementation, of those `offered`, for inputs `like` [B, T, ...] whose widest head has `widest` channels.

    Raises:
        ValueError: the environment names none that exists, or none that the operator has.
    """
    on_gpu = like.device.type == "cuda"
    forced = os.environ.get(BACKEND_VARIABLE)
    if forced:
        return _forced(forced, offered, on_gpu)
    if not on_gpu:
        return "definition" if like.shape[1] == 1 and not torch.is_grad_enabled() else "torch"
    if "triton" in offered and like.dtype != torch.float64:
        return "triton"
    half = like.dtype in (torch.bfloat16, torch.float16)
    if "fla" in offered and half and widest <= _MOST_HEAD_DIM and fla_forms.installed():
        return "fla"
    return "torch"


def _forced(text: str, offered: Collection[str], on_gpu: bool) -> str:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in BACKENDS:
            raise ValueError(
                f"{BACKEND_VARIABLE}={text!r}: {name!r} is no backend: use one of {', '.join(BACKENDS)}, or unset it"
            )
    for name in names:
        if name in offered:
            if name in ("fla", "triton") and not on_gpu and not os.environ.get("TRITON_INTERPRET"):
                raise ValueError(f"{BACKEND_VARIABLE}={text!r}: {name} needs a CUDA device: use torch or definition")
            return name
    raise ValueError(
        f"{BACKEND_VARIABLE}={text!r}: this operator has {', '.join(offered)}: add one of them, as in "
        f"{BACKEND_VARIABLE}={text},torch"
    )
