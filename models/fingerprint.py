"""A candidate's behaviour as 64 numbers: equal for renamed or reordered code, different for different computation.

Shapes: B batch, T time, D model width, P parameters.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

_LENGTH = 96  # beyond one chunk of 64 and the longest usual filter
_LAYERS = (0, 1)
_PER_LAYER = 28
_NUM_STATISTICS = 8


class _SeedByOperation(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Reseeds before every random operator, so that initial values do not depend on the order of construction."""

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags:
            torch.manual_seed(0)
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def fingerprint(make: Callable[[int], nn.Module], hidden_size: int) -> tuple[float, ...]:
    """Project the outputs of layers 0 and 1, with weights set by their shape alone, then describe the initial weights.

    The first 56 numbers are outputs of unit rms under a fixed random projection: two designs whose outputs differ by
    a relative r are about r apart relative to the vector's length. The last 8 are sums over the initial parameters
    that no renaming or reordering changes. float64 where the mixer allows it. Buffers stay as built. Designs that
    differ only by exchanging roles of equally shaped weights come out equal.

    Args:
        make: builds the mixer of a layer.
    """
    projected: list[float] = []
    statistics = np.zeros(_NUM_STATISTICS)
    for layer in _LAYERS:
        with torch.random.fork_rng(devices=[]), _SeedByOperation():  # type: ignore[no-untyped-call]
            mixer = make(layer).eval()
        statistics += _initial_statistics(mixer)
        for parameter in mixer.parameters():
            parameter.copy_(torch.from_numpy(_values_for(tuple(parameter.shape))))
        out_BTD = _output(mixer, hidden_size)
        flat = out_BTD.double().flatten().numpy()
        rms = float(np.sqrt(np.mean(flat**2)))
        direction = np.random.default_rng(layer).standard_normal((_PER_LAYER, flat.size)) / np.sqrt(flat.size)
        projected += (direction @ (flat / max(rms, 1e-12))).tolist()
        statistics[-1] += np.log(max(rms, 1e-12))
    return tuple(float(value) for value in (*projected, *statistics))


def _output(mixer: nn.Module, hidden_size: int) -> Tensor:
    x_BTD = torch.from_numpy(np.random.default_rng(7).standard_normal((1, _LENGTH, hidden_size)))
    try:
        double: Tensor = mixer.double()(x_BTD)
        return double
    except RuntimeError:  # builds float32 tensors of its own
        single: Tensor = mixer.float()(x_BTD.float())
        return single


def _values_for(shape: tuple[int, ...]) -> NDArray[np.float32]:
    seed = int.from_bytes(hashlib.sha256(repr(shape).encode()).digest()[:8], "big")
    fan_in = shape[-1] if len(shape) >= 2 else 4
    values = np.random.default_rng(seed).standard_normal(shape) / np.sqrt(fan_in)
    return np.asarray(values, dtype=np.float32)  # a shape of () has become a plain number


def _initial_statistics(mixer: nn.Module) -> NDArray[np.float64]:
    """Sums over parameters (the last place is left for the output's scale), compressed to the order of 1."""
    sums = np.zeros(_NUM_STATISTICS)
    for parameter in mixer.parameters():
        values = np.sort(parameter.double().flatten().numpy())  # sorted: sums then do not depend on layout
        mean, rms = float(values.mean()), float(np.sqrt(np.mean(values**2)))
        sums[:7] += (
            mean,
            rms,
            float(np.abs(values).max()),
            mean * rms,
            rms**2,
            np.cbrt(values).mean(),
            np.tanh(values[0]),
        )
    return np.sign(sums) * np.log1p(np.abs(sums))
