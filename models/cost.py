"""Counted cost: the same figure on every machine, so that fitness does not depend on a clock.

Shapes: B batch, T time, D model width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode


class ElementCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the elements that operators write: it sees the elementwise work that FLOP counting misses."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.elements = 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            for value in result if isinstance(result, tuple | list) else (result,):
                if isinstance(value, Tensor):
                    self.elements += value.numel()
        return result


@torch.no_grad()
def count_flops(forward: Callable[[], object]) -> int:
    """FLOPs of one call, a multiplication and an addition counted as two.

    Counts what torch.utils.flop_counter knows: matrix products (mm, bmm, addmm, einsum through them), convolutions and
    scaled-dot-product attention. Not counted: elementwise operators, reductions, cumulative sums, sorting, FFT,
    triangular solves, and the inside of custom kernels.
    """
    with FlopCounterMode(display=False) as counter:
        forward()
    return int(counter.get_total_flops())


def flops_per_token(model: nn.Module, length: int) -> float:
    """Forward FLOPs of a whole language model per token of a sequence of `length`; see count_flops for the limits."""
    tokens_BT = torch.zeros((1, length), dtype=torch.long, device=next(model.parameters()).device)
    return count_flops(lambda: model(tokens_BT)) / length


@torch.no_grad()
def growth_exponent(mixer: nn.Module, hidden_size: int, lengths: Sequence[int]) -> float:
    """Slope of log cost over log T between the two longest lengths or over all of them, whichever is steeper.

    Cost is FLOPs and elements written, each judged for itself: 1 is linear, 2 quadratic.
    """
    flops, elements = [], []
    for length in lengths:
        x_BTD = torch.randn(1, length, hidden_size, generator=torch.Generator().manual_seed(0))
        flops.append(max(1, count_flops(lambda x_BTD=x_BTD: mixer(x_BTD))))  # type: ignore[misc]
        with ElementCounter() as counter:
            mixer(x_BTD)
        elements.append(max(1, counter.elements))
    return max(_steepest(lengths, flops), _steepest(lengths, elements))


def decode_state_bytes(mixer: nn.Module) -> int | None:
    """What the mixer says of its decoding state in bytes (one layer, one sequence); None where it says nothing.

    This is the candidate's own statement through its optional method `state_bytes()`: nothing here checks it.

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


def _steepest(lengths: Sequence[int], counts: Sequence[int]) -> float:
    x, y = np.log(np.asarray(lengths, dtype=float)), np.log(np.asarray(counts, dtype=float))
    fitted = float(np.polyfit(x, y, 1)[0])
    last = float((y[-1] - y[-2]) / (x[-1] - x[-2]))
    return max(fitted, last)
