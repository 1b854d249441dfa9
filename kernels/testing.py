"""Comparing a form of an operator with its definition: inputs, errors, poisoned memory. For tests on any device.

Shapes: B batch, T time, H heads, K key dim per head, V value dim per head, D width, W taps, P paths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.utils import deterministic

from kernels.forms import SEQUENCE

SEQUENCE_OPERATORS = tuple(SEQUENCE)
_FILL = "fill_uninitialized_memory"  # a property of torch's module, unknown to its type hints
_SCALAR_GATED = ("simple_gla", "gated_delta_rule")
_CHANNEL_GATED = ("gla", "kda", "dplr_delta_rule")
_WRITING = ("delta_rule", "gated_delta_rule", "kda")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Sizes of one case."""

    batch: int = 2
    time: int
    heads: int = 3
    key_dim: int = 16
    value_dim: int = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Largest errors against the definition, relative to the largest true value; inf where something is not finite.

    A gradient that nearly vanishes is judged on a hundredth of the scale of the largest one: it is a difference of
    larger terms, and no form keeps its digits.
    """

    output: float
    gradients: Mapping[str, float]

    @property
    def worst(self) -> float:
        return max(self.output, *self.gradients.values())


def sequence_inputs(
    operator: str,
    shape: Shape,
    *,
    generator: torch.Generator,
    dtype: torch.dtype,
    strongest_decay: float = -1.0,
    with_initial_state: bool = False,
) -> dict[str, Tensor]:
    """Inputs by parameter name in the operator's order, for one of SEQUENCE_OPERATORS: leaves that require gradients.

    Log decays are uniform between `strongest_decay` and 0, beta between 0 and 1. Keys of the delta rules have norm 1,
    and what the generalised one erases is a share of what it reads.
    """
    steps = (shape.batch, shape.time, shape.heads)

    def normal(width: int) -> Tensor:
        return torch.randn(*steps, width, generator=generator, dtype=torch.float64)

    inputs = {"q": normal(shape.key_dim), "k": normal(shape.key_dim), "v": normal(shape.value_dim)}
    if operator in _WRITING:
        inputs["k"] = F.normalize(inputs["k"], dim=-1)
    if operator == "dplr_delta_rule":
        inputs["a"] = -F.normalize(normal(shape.key_dim), dim=-1)
        inputs["b"] = -inputs["a"] * torch.rand(*steps, shape.key_dim, generator=generator, dtype=torch.float64)
    if operator in _CHANNEL_GATED:
        inputs["g"] = strongest_decay * torch.rand(*steps, shape.key_dim, generator=generator, dtype=torch.float64)
    if operator in _SCALAR_GATED:
        inputs["g"] = strongest_decay * torch.rand(*steps, generator=generator, dtype=torch.float64)
    if operator in _WRITING:
        inputs["beta"] = torch.rand(*steps, generator=generator, dtype=torch.float64)
    if with_initial_state:
        shape_of_state = (shape.batch, shape.heads, shape.key_dim, shape.value_dim)
        inputs["initial_state"] = torch.randn(shape_of_state, generator=generator, dtype=torch.float64)
    return {name: x.to(dtype).requires_grad_() for name, x in inputs.items()}


def agreement(
    definition: Callable[..., Any],
    form: Callable[..., Any],
    inputs: Mapping[str, Tensor],
    *,
    seed: int = 0,
    **options: Any,
) -> Agreement:
    """Errors of `form` against `definition`, all outputs and all gradients.

    The definition runs on the same values in at least float32, so that half-precision inputs are judged by what the
    form adds to the rounding of its inputs. Gradients are of a sum weighted by fixed normal numbers. Both may answer
    with a tensor or a tuple of tensors and Nones.
    """
    exact = {name: _raised(x).detach().requires_grad_() for name, x in inputs.items()}
    tested = {name: x.detach().clone().requires_grad_() for name, x in inputs.items()}
    truths, outputs = _tensors(definition(**exact, **options)), _tensors(form(**tested, **options))
    assert len(truths) == len(outputs)
    generator = torch.Generator().manual_seed(seed)
    weights = [torch.randn(truth.shape, generator=generator, dtype=torch.float64) for truth in truths]
    torch.autograd.backward(truths, [weight.to(truth) for weight, truth in zip(weights, truths, strict=True)])
    torch.autograd.backward(outputs, [weight.to(output) for weight, output in zip(weights, outputs, strict=True)])
    floor = 0.01 * max(float(x.grad.abs().max()) for x in exact.values() if x.grad is not None)
    return Agreement(
        output=max(relative_error(output, truth) for output, truth in zip(outputs, truths, strict=True)),
        gradients={name: relative_error(tested[name].grad, exact[name].grad, floor=floor) for name in exact},
    )


def relative_error(found: Tensor | None, truth: Tensor | None, *, floor: float = 1e-30) -> float:
    """Largest absolute difference over the largest absolute truth, or over `floor` if that is larger.

    A gradient that is missing on one side has to vanish on the other.
    """
    if found is None or truth is None:
        present = found if truth is None else truth
        return 0.0 if present is None or not present.any() else float("inf")
    assert found.shape == truth.shape
    if not bool(torch.isfinite(found).all()):
        return float("inf")
    found, truth = found.detach().double(), truth.detach().double()
    return float((found - truth).abs().max() / truth.abs().max().clamp(min=floor))


@contextmanager
def poisoned_memory() -> Iterator[None]:
    """Within it torch fills fresh memory with NaN, so that reading what nobody wrote shows."""
    algorithms, fill = torch.are_deterministic_algorithms_enabled(), getattr(deterministic, _FILL)
    torch.use_deterministic_algorithms(True)
    setattr(deterministic, _FILL, True)
    try:
        yield
    finally:
        setattr(deterministic, _FILL, fill)
        torch.use_deterministic_algorithms(algorithms)


def _tensors(answer: Tensor | Iterable[Tensor | None]) -> list[Tensor]:
    if isinstance(answer, Tensor):
        return [answer]
    return [x for x in answer if x is not None]


def _raised(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
