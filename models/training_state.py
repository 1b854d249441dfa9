"""All that a training needs to go on as if nothing had happened: weights, AdamW's moments, random states, its curve.

Plain arrays and JSON values, so that it travels over the wire and lies in a file without pickles. On a CPU the training
that goes on gives the same losses and weights, bit for bit; on a GPU it is as repeatable as training there is.

Not kept: what a candidate holds outside its state dict (the gate refuses modules whose results depend on that), and
which batches come next: whoever resumes hands in batches that begin with the one after `step`.

Not guaranteed: that a state is true. It comes from the process in which generated code runs.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor, nn

from models.sandbox.wire import Array, Json

_MODEL, _MEAN, _SQUARE = "model/", "mean/", "square/"  # then the name of a tensor of the state dict, or a parameter's
_COUNTS = "counts"  # of AdamW's steps, in the order of the parameters; -1: it has no state of that one
_PYTHON, _NUMPY, _TORCH, _CUDA = "python", "numpy", "torch", "cuda"  # random states


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveState:
    """How far a training is, and what of it the next point of its curve will tell."""

    step: int = 0  # steps done
    elapsed_s: float = 0.0
    summed_loss: float = 0.0  # of the steps since the last point
    point_step: int = 0  # of that point
    lowest_loss: float | None = None  # of the points so far
    tokens: int = 0
    micro_batch: int | None = None  # sequences at once, as memory has allowed so far


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingState:
    """A training between two steps."""

    curve: CurveState
    chance: Mapping[str, Json]  # what the random states hold beside their arrays
    arrays: Mapping[str, Array]

    @property
    def step(self) -> int:
        return self.curve.step

    def as_json(self) -> dict[str, Json]:
        """All but the arrays."""
        return {"curve": asdict(self.curve), "chance": dict(self.chance)}

    @classmethod
    def from_json(cls, body: Mapping[str, Json], arrays: Mapping[str, Array]) -> TrainingState:
        """The state that `as_json` told of. Raises TypeError for anything else."""
        curve, chance = body.get("curve"), body.get("chance")
        if not isinstance(curve, dict) or not isinstance(chance, dict):
            raise TypeError(f"a training's state has curve and chance, this one has {', '.join(body)}")
        return cls(curve=CurveState(**curve), chance=chance, arrays=arrays)  # type: ignore[arg-type]


class Saving:
    """Hands states on, one whenever `every_s` have passed since the last, over any number of trainings."""

    def __init__(
        self,
        every_s: float,
        hand_on: Callable[[TrainingState], None],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._every_s, self._hand_on, self._clock = every_s, hand_on, clock
        self._since = clock()

    @property
    def due(self) -> bool:
        return self._clock() - self._since >= self._every_s

    def save(self, state: TrainingState) -> None:
        self._hand_on(state)
        self._since = self._clock()  # what a slow receiver takes is no training that could be lost


def capture(model: nn.Module, optimiser: torch.optim.Optimizer, curve: CurveState) -> TrainingState:
    """Copies of everything, so that the training may go on.

    Raises:
        TypeError: the state dict holds something that is no tensor.
    """
    chance, arrays = _chance(next(model.parameters()).device)
    counts: list[float] = []
    for name, parameter in model.named_parameters():
        moments = optimiser.state.get(parameter)
        counts.append(float(moments["step"]) if moments else -1.0)
        if moments:
            arrays[_MEAN + name] = _array(moments["exp_avg"]).copy()
            arrays[_SQUARE + name] = _array(moments["exp_avg_sq"]).copy()
    arrays[_COUNTS] = np.array(counts, np.float32)
    arrays |= {_MODEL + name: array.copy() for name, array in arrays_of(model).items()}
    return TrainingState(curve=curve, chance=chance, arrays=arrays)


def restore(state: TrainingState, model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Put weights, moments and random states back as they were; the optimiser is new and has none.

    Raises:
        KeyError, ValueError, RuntimeError: the state is of another model.
    """
    weights = {name.removeprefix(_MODEL): array for name, array in state.arrays.items() if name.startswith(_MODEL)}
    model.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()}, strict=True)
    for (name, parameter), count in zip(model.named_parameters(), state.arrays[_COUNTS].tolist(), strict=True):
        if count >= 0:
            optimiser.state[parameter] = {
                "step": torch.tensor(count, dtype=torch.float32, device=parameter.device),
                "exp_avg": _like(parameter, state.arrays[_MEAN + name]),
                "exp_avg_sq": _like(parameter, state.arrays[_SQUARE + name]),
            }
    _restore_chance(state, next(model.parameters()).device)


def arrays_of(model: nn.Module) -> dict[str, Array]:
    """The state dict as plain arrays; bfloat16, which numpy lacks, as the float32 that holds it exactly.

    On a CPU they share the model's memory. Raises TypeError where the state dict holds something that is no tensor.
    """
    arrays: dict[str, Array] = {}
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            raise TypeError(f"the state dict holds {name} of {type(value).__name__}; keep tensors only")
        arrays[name] = _array(value)
    return arrays


def _chance(device: torch.device) -> tuple[dict[str, Json], dict[str, Array]]:
    """The states of all generators that a forward pass may draw from: numbers, and arrays."""
    version, words, gauss = random.getstate()
    kind, keys, *place = np.random.get_state(legacy=True)
    arrays = {
        _PYTHON: np.array(words, np.int64),
        _NUMPY: np.asarray(keys).astype(np.int64),
        _TORCH: torch.get_rng_state().numpy(),
    }
    if device.type == "cuda":
        arrays[_CUDA] = torch.cuda.get_rng_state(device).numpy()
    return {_PYTHON: [version, gauss], _NUMPY: [str(kind), *map(float, place)]}, arrays


def _restore_chance(state: TrainingState, device: torch.device) -> None:
    version, gauss = _list(state.chance, _PYTHON)
    random.setstate((version, tuple(state.arrays[_PYTHON].tolist()), gauss))
    kind, *place = _list(state.chance, _NUMPY)
    position, has_gauss, cached = (float(value) for value in place)  # type: ignore[arg-type]
    keys = state.arrays[_NUMPY].astype(np.uint32)
    np.random.set_state((str(kind), keys, int(position), int(has_gauss), cached))
    torch.set_rng_state(torch.from_numpy(state.arrays[_TORCH]))
    if device.type == "cuda":
        torch.cuda.set_rng_state(torch.from_numpy(state.arrays[_CUDA]), device)


def _list(values: Mapping[str, Json], name: str) -> list[Json]:
    value = values[name]
    assert isinstance(value, list)
    return value


def _array(value: Tensor) -> Array:
    plain = value.detach().cpu()
    return (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy()


def _like(parameter: nn.Parameter, array: Array) -> Tensor:
    return torch.empty_like(parameter, memory_format=torch.preserve_format).copy_(torch.from_numpy(array))
