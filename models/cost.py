"""Counted cost: the same figure on every machine, so that fitness does not depend on a clock.

Shapes: B batch, T time, D model width.
"""

from __future__ import annotations

import math
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode


def _attention_flops(q: torch.Size, k: torch.Size, v: torch.Size, *args: Any, **kwargs: Any) -> int:
    """Of shapes [..., T, K]: scores, and values weighted by them."""
    return 2 * math.prod(q[:-1]) * k[-2] * (q[-1] + v[-1])


# torch counts attention on CUDA alone; what runs on a CPU under the same name it takes for free.
_UNCOUNTED = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}


def _flop_counter() -> FlopCounterMode:
    return FlopCounterMode(display=False, custom_mapping=_UNCOUNTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What one forward pass needs, counted without a clock."""

    flops: int  # as count_flops
    elements: int  # written by operators: the elementwise work that FLOP counting misses
    peak_bytes: int  # live at once, what is kept for the backward pass included
    operators: int


class _Meter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operator's result: counts its elements, and follows its storage until nobody holds it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.elements = self.operators = self.peak_bytes = 0
        self._live_bytes = 0
        self._storages: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.operators += 1
        if not func.is_view:
            for value in result if isinstance(result, tuple | list) else (result,):
                if isinstance(value, Tensor):
                    self.elements += value.numel()
                    self._follow(value.untyped_storage())
        return result

    def _follow(self, storage: torch.UntypedStorage) -> None:
        key = id(storage)  # the same object as long as the storage lives
        if key in self._storages:
            return
        num_bytes = storage.nbytes()

        def freed(_: object) -> None:
            self._live_bytes -= num_bytes
            self._storages.pop(key, None)

        self._storages[key] = weakref.ref(storage, freed)
        self._live_bytes += num_bytes
        self.peak_bytes = max(self.peak_bytes, self._live_bytes)


def count(mixer: nn.Module, hidden_size: int, length: int) -> Counts:
    """Counts of one pass in training mode over one sequence of `length`, gradients recorded; dropout is drawn."""
    x_BTD = torch.randn(1, length, hidden_size, generator=torch.Generator().manual_seed(0)).requires_grad_()
    with torch.random.fork_rng(devices=[]), _flop_counter() as flops, _Meter() as meter:
        out = mixer.train()(x_BTD)
        del out
    return Counts(
        flops=int(flops.get_total_flops()),
        elements=meter.elements,
        peak_bytes=meter.peak_bytes,
        operators=meter.operators,
    )


@torch.no_grad()
def count_flops(forward: Callable[[], object]) -> int:
    """FLOPs of one call, a multiplication and an addition counted as two.

    Counts what torch.utils.flop_counter knows: matrix products (mm, bmm, addmm, einsum through them), convolutions and
    scaled-dot-product attention. Not counted: elementwise operators, reductions, cumulative sums, sorting, FFT,
    triangular solves, and the inside of custom kernels.
    """
    with _flop_counter() as counter:
        forward()
    return int(counter.get_total_flops())


def flops_per_token(model: nn.Module, length: int) -> float:
    """Forward FLOPs of a whole language model per token of a sequence of `length`; see count_flops for the limits."""
    tokens_BT = torch.zeros((1, length), dtype=torch.long, device=next(model.parameters()).device)
    return count_flops(lambda: model(tokens_BT)) / length


def exponent(lengths: Sequence[int], counts: Sequence[int]) -> float:
    """Slope of log count over log T between the two longest lengths or over all, whichever is steeper.

    1 is linear, 2 quadratic. At least two lengths, ascending.
    """
    x = np.log(np.asarray(lengths, dtype=float))
    y = np.log(np.maximum(np.asarray(counts, dtype=float), 1.0))
    fitted = float(np.polyfit(x, y, 1)[0])
    last = float((y[-1] - y[-2]) / (x[-1] - x[-2]))
    return max(fitted, last)


def tensor_bytes(state: object) -> int:
    """Bytes of all tensors within a state: tuples, lists, dicts, dataclasses and objects, each storage once.

    A view counts with its own elements, since what lies behind it is not what the state needs.
    """
    total, seen, todo = 0, set[int](), [state]
    while todo:
        value = todo.pop()
        if id(value) in seen or value is None or isinstance(value, str | bytes | int | float | complex | type):
            continue
        seen.add(id(value))
        if isinstance(value, Tensor):
            total += value.numel() * value.element_size()
        elif isinstance(value, Mapping):
            todo += [*value.keys(), *value.values()]
        elif isinstance(value, tuple | list | set | frozenset | deque):
            todo += list(value)
        elif not isinstance(value, nn.Module):
            todo += list(getattr(value, "__dict__", {}).values())
            for kind in type(value).__mro__:
                todo += [getattr(value, name, None) for name in getattr(kind, "__slots__", ())]
    return total


def decode_state_bytes(mixer: nn.Module) -> int | None:
    """What the mixer says of its decoding state in bytes (one layer, one sequence); None where it says nothing.

    This is the candidate's own statement through its optional method `state_bytes()`; the property `decode` compares it
    with what `step` carries, where there is one.

    Raises:
        ValueError: the method answers something else than None or a whole number from 0 up.
    """
    method = getattr(mixer, "state_bytes", None)
    if method is None:
        return None
    answer = method()
    if answer is None:
        return None
    if isinstance(answer, bool) or not isinstance(answer, int) or answer < 0:
        raise ValueError(f"state_bytes() returned {answer!r}; return a whole number of bytes, or None if unbounded")
    return answer
