"""How much of a difference is round-off: by the precision that a mixer really computes in.

Three kinds of comparison, three rules, all relative to the rms of the outputs.

* Same shape, other values elsewhere (another suffix, other rows): honest arithmetic is bit-equal, whatever its type,
  because no operator lets one position's values into another's round-off. `same` leaves room for vectorised functions
  that choose their branch by neighbouring values.
  Where the suffix is a hundred times as large, what is added and taken away again leaves its round-off (an exclusive
  prefix sum written as `x.cumsum(1) - x`): below float64, `same_gross` bounds that.
* Same shape, through an FFT: it takes every value apart and together again, so the round-off of the largest value is
  everywhere, and that of a filter's transform is a faint filter of its own that reaches ahead. `fft` bounds it where
  the suffix is small. Where the suffix is a hundred times as large, gates square or cube it and norms shrink the rest,
  so only what is gross is told: `fft_gross`. These hold only in runs in which an FFT was seen.
* Other shape (a prefix alone, a row alone): matrix products add up in another order, so differences of the working
  precision are normal: `reshaped`. In float64 it bounds the largest difference; below float64 the rms of all
  differences, since one flipped rounding before a top-k or a sign is honest and large.

Shapes: B batch, T time, D model width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from models.properties.running import EVALUATION, Mode, run

_BITS = {
    **{torch.float64: 64, torch.complex128: 64, torch.float32: 32, torch.complex64: 32},
    **{torch.bfloat16: 16, torch.float16: 16, torch.complex32: 16},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """Limits of a working precision, relative to the rms of the outputs."""

    name: str
    same: float
    same_gross: float
    fft: float
    fft_gross: float
    reshaped: float


# Measured on honest mixers: float64 below 1e-13 in all but `fft_gross`; float32 up to 6e-6 through an FFT and 1e-6
# reshaped; bfloat16 one flipped rounding, 2^-8 of an element, which may be four times the rms.
FLOAT64 = Precision(name="float64", same=1e-12, same_gross=1e-11, fft=1e-12, fft_gross=1e-6, reshaped=1e-10)
FLOAT32 = Precision(name="float32", same=1e-5, same_gross=1e-2, fft=1e-4, fft_gross=0.5, reshaped=1e-4)
BFLOAT16 = Precision(name="bfloat16", same=1e-3, same_gross=0.5, fft=0.05, fft_gross=0.5, reshaped=0.05)
_BY_BITS = {64: FLOAT64, 32: FLOAT32, 16: BFLOAT16}


@dataclass(frozen=True, slots=True, kw_only=True)
class Arithmetic:
    """What a pass computes with."""

    precision: Precision
    uses_fft: bool


def arithmetic_of(mixer: nn.Module, x_BTD: Tensor, mode: Mode = EVALUATION) -> Arithmetic:
    """The narrowest type that values are rounded to on the way from this input, and whether an FFT mixes positions.

    Constants that are made narrow do not count, nor does what a mixer does for other inputs only.
    """
    with _Watch(_BITS[x_BTD.dtype]) as seen:
        run(mixer, x_BTD, mode)
    return Arithmetic(precision=_BY_BITS[seen.fewest_bits], uses_fft=seen.uses_fft)


def largest(one: Tensor, other: Tensor, scale: float) -> float:
    """The largest difference relative to `scale`; infinite where either side holds NaN."""
    if one.numel() == 0:
        return 0.0
    difference = float((one.double() - other.double()).abs().max()) / scale
    return difference if difference == difference else float("inf")


def reshaped_difference(one: Tensor, other: Tensor, scale: float, precision: Precision) -> float:
    """The difference that `Precision.reshaped` bounds: the largest in float64, else the rms of all."""
    if precision is FLOAT64:
        return largest(one, other, scale)
    difference = rms(one.double() - other.double()) / scale
    return difference if difference == difference else float("inf")


def rms(values: Tensor) -> float:
    """Root of the mean square, never 0."""
    return max(float(values.double().square().mean().sqrt()), 1e-12)


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the narrowest floating type that a wider one was turned into, and FFTs."""

    def __init__(self, bits: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.fewest_bits = bits
        self.uses_fft = False

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.uses_fft = self.uses_fft or func.__name__.startswith("_fft_")
        if isinstance(result, Tensor) and (bits := _BITS.get(result.dtype, 64)) < self.fewest_bits:
            given = max((_BITS.get(value.dtype, 0) for value in args if isinstance(value, Tensor)), default=0)
            if given > bits:
                self.fewest_bits = bits
        return result
