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
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, shape_wrapper


def _attention_flops(q: torch.Size, k: torch.Size, v: torch.Size, *args: Any, **kwargs: Any) -> int:
    """Of shapes [..., T, K]: scores, and values weighted by them."""
    return 2 * math.prod(q[:-1]) * k[-2] * (q[-1] + v[-1])


def _encoder_flops(x: torch.Size, width: int, *args: Any, **kwargs: Any) -> int:
    """A whole transformer layer in one operator, x [B, T, D]: every map at least D x D, scores and values over T."""
    batch, length, hidden = x[0], x[-2], x[-1]
    return 2 * batch * length * hidden * (12 * hidden + 2 * length)


def _multi_head_flops(q: torch.Size, k: torch.Size, v: torch.Size, *args: Any, **kwargs: Any) -> int:
    """Attention with its maps in one operator, [B, T, D]."""
    return 8 * math.prod(q) * q[-1] + _attention_flops(q, k, v)


def _window_flops(x: torch.Size, kernel: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    """Pooling: every result looks at a window, one comparison or addition and one address each."""
    first = out_shape[0] if isinstance(out_shape, tuple | list) and isinstance(out_shape[0], torch.Size) else out_shape
    return 2 * math.prod(first) * math.prod(kernel if isinstance(kernel, tuple | list) else [kernel])


# What torch's counter takes for free: attention where it runs on a CPU, layers fused into one operator, pooling.
_COUNTED: Mapping[Any, Callable[..., int]] = {
    **flop_registry,
    **{
        operator: shape_wrapper(formula)  # type: ignore[no-untyped-call]
        for operator, formula in (
            (torch.ops.aten._scaled_dot_product_flash_attention_for_cpu, _attention_flops),
            (torch.ops.aten._transformer_encoder_layer_fwd, _encoder_flops),
            (torch.ops.aten._native_multi_head_attention, _multi_head_flops),
            (torch.ops.aten.max_pool1d, _window_flops),
            (torch.ops.aten.max_pool2d_with_indices, _window_flops),
            (torch.ops.aten.max_pool3d_with_indices, _window_flops),
            (torch.ops.aten.avg_pool2d, _window_flops),
            (torch.ops.aten.avg_pool3d, _window_flops),
        )
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What one training pass needs, forward and backward, counted without a clock."""

    flops: int  # as count_flops
    # Read or written by the forward pass: the elementwise work that FLOP counting misses. Not by the backward one, in
    # which autograd fills a whole gradient for every step that a loop over time selects.
    elements: int
    peak_bytes: int  # live at once, what is kept for the backward pass included
    operators: int


class _Meter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operator: counts the elements it reads and writes, and follows results until nobody holds them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops: int = 0
        self.elements = self.operators = self.peak_bytes = 0
        self._live_bytes = 0
        self._storages: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.operators += 1
        if formula := _COUNTED.get(func._overloadpacket):
            self.flops += int(formula(*args, **(kwargs or {}), out_val=result))
        if not func.is_view:
            # A view is read in its own size, which may be far beyond what is stored behind it.
            self.elements += sum(value.numel() for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor))
            for value in tree_leaves(result):
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
    """Counts of one pass in training mode over one sequence of `length`, forward and backward; dropout is drawn."""
    x_BTD = torch.randn(1, length, hidden_size, generator=torch.Generator().manual_seed(0)).requires_grad_()
    with torch.random.fork_rng(devices=[]), _Meter() as meter:
        out_BTD = mixer.train()(x_BTD)
        elements = meter.elements
        if out_BTD.requires_grad:
            out_BTD.sum().backward()
        del out_BTD
    mixer.zero_grad(set_to_none=True)
    return Counts(
        flops=meter.flops,
        elements=elements,
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
    with _Meter() as meter:
        forward()
    return int(meter.flops)


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
