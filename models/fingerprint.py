"""A candidate's behaviour as 88 numbers: equal for renamed or reordered code, different for different computation.

Shapes: B batch, T time, D model width, P parameters, R numbers of a role, F frequencies.
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
_NUM_ROLES = 24  # numbers that tell the roles of equally shaped weights apart
_ROLE_LENGTH = 40
_PER_ROLE = 8
_MOST_ROLES = 24  # parameters that are moved alone; a group of equal shape is taken whole or not at all


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
    a relative r are about r apart relative to the vector's length. The next 8 are sums over the initial parameters
    that no renaming or reordering changes. The last 24 tell apart who plays which role among weights of one shape
    (`o * q` against `o * k`): see `_roles`. float64 where the mixer allows it. Buffers stay as built.

    Not covered: designs that differ only in which pairs of equally shaped weights go together, and roles beyond the
    first 24 such weights. The roles take 2 to 28 ms beside the 8 to 25 ms of the rest (published mixers, width 64,
    one core).

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
        if layer == _LAYERS[0]:
            roles = _roles(mixer, hidden_size)
    return tuple(float(value) for value in (*projected, *statistics, *roles))


def _roles(mixer: nn.Module, hidden_size: int) -> NDArray[np.float64]:
    """Which roles equally shaped weights play, whatever they are called and in whichever order they stand.

    Weights of one shape are equal so far, so that exchanging two of them changes nothing. Here each is given second
    values of its shape alone, which moves the output in a direction of its own, the role. A mean over all of them of
    cos(w . role + b) is the same for any order and, taken at several w and b, different for other roles. Weights that
    no other shares its shape with have nobody to exchange with and stay out; a mixer without any gives zeros.
    """
    shared = _sharing_a_shape(mixer)
    if not shared:
        return np.zeros(_NUM_ROLES)
    rng = np.random.default_rng(11)
    size = _ROLE_LENGTH * hidden_size
    direction = rng.standard_normal((_PER_ROLE, size)) / np.sqrt(size)
    frequencies_FR = 0.7 * rng.standard_normal((_NUM_ROLES, _PER_ROLE))
    phases_F = rng.uniform(0, 2 * np.pi, _NUM_ROLES)
    found = np.zeros(_NUM_ROLES)
    for parameter in shared:
        first = parameter.clone()
        parameter.copy_(torch.from_numpy(_values_for(tuple(parameter.shape), salt="second")))
        flat = _output(mixer, hidden_size, _ROLE_LENGTH).double().flatten().numpy()
        parameter.copy_(first)
        role_R = direction @ (flat / max(float(np.sqrt(np.mean(flat**2))), 1e-12))
        found += np.cos(frequencies_FR @ role_R + phases_F)
    return found / len(shared)


def _sharing_a_shape(mixer: nn.Module) -> list[nn.Parameter]:
    """Parameters that have others of their shape, at most so many; which ones does not depend on names or order."""
    by_shape: dict[tuple[int, ...], list[nn.Parameter]] = {}
    for parameter in mixer.parameters():
        by_shape.setdefault(tuple(parameter.shape), []).append(parameter)
    found: list[nn.Parameter] = []
    for _, group in sorted(by_shape.items(), key=lambda item: (-len(item[0]), item[0])):
        if 1 < len(group) <= _MOST_ROLES - len(found):
            found += group
    return found


def _output(mixer: nn.Module, hidden_size: int, length: int = _LENGTH) -> Tensor:
    x_BTD = torch.from_numpy(np.random.default_rng(7).standard_normal((1, length, hidden_size)))
    try:
        double: Tensor = mixer.double()(x_BTD)
        return double
    except RuntimeError:  # builds float32 tensors of its own
        single: Tensor = mixer.float()(x_BTD.float())
        return single


def _values_for(shape: tuple[int, ...], salt: str = "") -> NDArray[np.float32]:
    seed = int.from_bytes(hashlib.sha256((repr(shape) + salt).encode()).digest()[:8], "big")
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
