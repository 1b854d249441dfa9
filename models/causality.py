"""Executed causality: change what comes later, and nothing earlier may move.

Shapes: B batch, T time, D model width, R rows (one for each cut and size of the change).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

# Chunk edges of 16, 32 and 64, small primes, powers of two and their neighbours, one length beyond 512.
LENGTHS = (2, 3, 5, 7, 15, 16, 17, 31, 32, 33, 47, 63, 64, 65, 97, 127, 128, 129, 192, 255, 256, 257, 521)
PREFIXES = (1, 2, 3, 7, 16, 31, 32, 33, 63, 64, 65, 100, 127, 128, 129, 193)
_PREFIX_LENGTH = 257
_SUFFIX_SCALES = (0.01, 100.0)
# Relative to the rms of the output. Honest round-off in float32 stays near 1e-6, and near 1e-5 for an FFT that holds
# the large suffix; a leak of 1e-6 of a later input shows as 1e-4 through the suffix of 100.
LIMIT = 1e-4


def suffix_influence(mixer: nn.Module, hidden_size: int, lengths: Sequence[int] = LENGTHS) -> float:
    """Largest change of an output, relative to the outputs' rms, when only later inputs change.

    Both runs have the same shape and random state, so that dropout draws the same masks. All cuts and both sizes of
    suffix (0.01 and 100) of a length go through as one batch.
    """
    dtype, generator = _dtype_of(mixer), torch.Generator().manual_seed(0)
    worst = 0.0
    for length in lengths:
        cuts = sorted({1, length // 2, (length - 1) // 32 * 32, length - 1} - {0})
        rows = [(cut, scale) for cut in cuts for scale in _SUFFIX_SCALES]
        x_BTD = torch.randn(1, length, hidden_size, generator=generator)
        base_RTD = x_BTD.repeat(len(rows), 1, 1)
        changed_RTD = base_RTD.clone()
        for row, (cut, scale) in enumerate(rows):
            changed_RTD[row, cut:] = scale * torch.randn(length - cut, hidden_size, generator=generator)
        before_RTD = _run(mixer, base_RTD.to(dtype))
        after_RTD = _run(mixer, changed_RTD.to(dtype))
        scale_of_output = _rms(before_RTD)
        for row, (cut, _) in enumerate(rows):
            worst = max(worst, _distance(before_RTD[row, :cut], after_RTD[row, :cut], scale_of_output))
    return worst


def prefix_disagreement(mixer: nn.Module, hidden_size: int, prefixes: Sequence[int] = PREFIXES) -> float:
    """Largest relative difference between a prefix run alone and the same prefix inside a longer sequence."""
    generator = torch.Generator().manual_seed(1)
    x_BTD = torch.randn(1, _PREFIX_LENGTH, hidden_size, generator=generator).to(_dtype_of(mixer))
    whole_BTD = _run(mixer, x_BTD)
    scale_of_output = _rms(whole_BTD)
    return max(_distance(whole_BTD[:, :prefix], _run(mixer, x_BTD[:, :prefix]), scale_of_output) for prefix in prefixes)


def in_float64(make: Callable[[], nn.Module], hidden_size: int) -> nn.Module | None:
    """The mixer in float64, where round-off cannot be mistaken for a leak; None if it cannot run so."""
    mixer = make().double().eval()
    try:
        with torch.no_grad():
            result = mixer(torch.ones(1, 8, hidden_size, dtype=torch.float64))
    except RuntimeError:  # operands of two types: the mixer builds float32 tensors of its own
        return None
    return mixer if isinstance(result, Tensor) else None


def _run(mixer: nn.Module, x_BTD: Tensor) -> Tensor:
    """One pass; gradients are recorded in training mode, as they are in training."""
    with torch.random.fork_rng(devices=[]), torch.set_grad_enabled(mixer.training):
        torch.manual_seed(0)
        out_BTD: Tensor = mixer(x_BTD)
    return out_BTD.detach()


def _distance(one: Tensor, other: Tensor, scale: float) -> float:
    difference = float((one - other).abs().max()) / scale
    return difference if difference == difference else float("inf")  # NaN on either side is a change


def _rms(values: Tensor) -> float:
    return max(float(values.double().square().mean().sqrt()), 1e-12)


def _dtype_of(mixer: nn.Module) -> torch.dtype:
    return next((parameter.dtype for parameter in mixer.parameters()), torch.float32)
