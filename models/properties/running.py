"""How the gate runs a mixer: mode, type, random state. Whatever it changes in the process it puts back.

Shapes: B batch, T time, D model width.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_PERTURBATION = 0.2  # of a parameter's rms, at least of 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """What surrounds a forward pass besides type and shape of its input."""

    training: bool = False
    grad: bool = False  # gradients recorded, and the input asks for one
    autocast: bool = False  # to bfloat16

    def __str__(self) -> str:
        parts = ("training" if self.training else "evaluation", "gradients" if self.grad else "no gradients")
        return ", ".join((*parts, "autocast") if self.autocast else parts)


EVALUATION = Mode()
TRAINING = Mode(training=True, grad=True)


def run(mixer: nn.Module, x_BTD: Tensor, mode: Mode = EVALUATION, *, seed: int = 0) -> Tensor:
    """One pass under torch's generator seeded with `seed`: equal shapes draw equal dropout masks.

    The mixer gets a copy of the input and the result is a copy, so that neither work in place nor a kept buffer can
    hide a change. A float64 input is computed in float64 throughout, whatever casts the mixer asks for on the way:
    then round-off is too small to be taken for a leak, or to cover one.
    """
    mixer.train(mode.training)
    with (
        torch.random.fork_rng(devices=[]),
        all_in_float64() if x_BTD.dtype == torch.float64 else nullcontext(),
        torch.set_grad_enabled(mode.grad),
        torch.autocast("cpu", torch.bfloat16, enabled=mode.autocast),
    ):
        torch.manual_seed(seed)
        given_BTD = x_BTD.clone()
        if mode.grad:  # inside a model the input is a result, not a leaf
            given_BTD = given_BTD.requires_grad_() * 1.0
        out_BTD: Tensor = mixer(given_BTD)
    return out_BTD.detach().clone()


def inputs(num_rows: int, length: int, hidden_size: int, seed: int = 0) -> Tensor:
    """x_BTD of independent normal numbers, float32; the same for the same arguments."""
    return torch.randn(num_rows, length, hidden_size, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def perturb(mixer: nn.Module, strength: float = _PERTURBATION) -> nn.Module:
    """Move every weight by `strength` of its rms, so that nothing hides behind a zero-initialised gain."""
    generator = torch.Generator().manual_seed(3)
    for parameter in mixer.parameters():
        rms = max(float(parameter.square().mean().sqrt()), 0.1)
        parameter.add_(strength * rms * torch.randn(parameter.shape, generator=generator))
    return mixer


def type_of(mixer: nn.Module) -> torch.dtype:
    """The type of the mixer's first parameter; float32 where it has none."""
    return next((parameter.dtype for parameter in mixer.parameters()), torch.float32)


@contextmanager
def unchanged_process() -> Iterator[None]:
    """Puts back random states, default type, number of threads and gradient mode, whatever the body did to them.

    Warnings of the body are not shown: what a candidate warns of in odd shapes and types concerns nobody.
    """
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()
    dtype, threads, grad = torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.set_rng_state(states[0])
        random.setstate(states[1])
        np.random.set_state(states[2])
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(grad)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


@contextmanager
def all_in_float64() -> Iterator[None]:
    """Within it float64 is the default type, and every narrower floating type that is named means float64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with _Widen():
            yield
    finally:
        torch.set_default_dtype(before)


_WIDER = {
    **dict.fromkeys((torch.float32, torch.bfloat16, torch.float16), torch.float64),
    **dict.fromkeys((torch.complex64, torch.complex32), torch.complex128),
}
_NARROWING = {torch.Tensor.float, torch.Tensor.half, torch.Tensor.bfloat16}


class _Widen(TorchFunctionMode):
    """Turns `.float()`, `.to(torch.bfloat16)`, `dtype=torch.float32` and their like into float64."""

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in _NARROWING:
            return torch.Tensor.double(args[0])
        if func is torch.Tensor.view:  # of other bits: a type given here is no precision
            return func(*args, **(kwargs or {}))
        wide = [_WIDER.get(value, value) if isinstance(value, torch.dtype) else value for value in args]
        named = {
            key: _WIDER.get(value, value) if isinstance(value, torch.dtype) else value
            for key, value in (kwargs or {}).items()
        }
        return func(*wide, **named)
