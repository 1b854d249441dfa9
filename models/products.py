"""Matrix products on a CPU by oneDNN where torch would ask MKL, which leaves AVX-512 unused on other makers' CPUs.

Products in float32 alone, and only those large enough for the detour through Python; everything else is torch's own.
Results differ in rounding. For processes that do nothing but train and evaluate: it holds until they end.

Shapes: M rows, K summed over, N columns.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor

_CPUINFO = Path("/proc/cpuinfo")
_LEAST = 1 << 20  # multiplications; below it MKL is as fast
_kept: list[torch.library.Library] = []  # a registration ends with its library


def use_onednn(cpuinfo: Path = _CPUINFO) -> bool:
    """Compute `aten::mm` that way from now on, where it is faster; says whether it is."""
    if not _kept and _faster(cpuinfo):
        library = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a kernel is overridden
            library.impl("mm", product, "CPU")  # type: ignore[no-untyped-call]
        _kept.append(library)
    return bool(_kept)


def product(left_MK: Tensor, right_KN: Tensor) -> Tensor:
    """left @ right."""
    if _fits(left_MK, right_KN):
        found: Tensor = torch.ops.mkldnn._linear_pointwise.default(left_MK, right_KN.t(), None, "none", [], "")
        return found
    plain: Tensor = torch.ops.aten.mm.out(left_MK, right_KN, out=left_MK.new_empty(0))
    return plain


def _faster(cpuinfo: Path) -> bool:
    try:
        intel = "GenuineIntel" in cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    onednn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return (
        not intel
        and onednn
        and torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
    )


def _fits(left: Tensor, right: Tensor) -> bool:
    return (
        left.dtype is torch.float32
        and right.dtype is torch.float32
        and left.dim() == right.dim() == 2
        and left.shape[1] == right.shape[0]
        and left.shape[0] * right.numel() >= _LEAST
        and _dense(left)
        and _dense(right)
    )


def _dense(matrix: Tensor) -> bool:
    return matrix.is_contiguous() or matrix.t().is_contiguous()
