"""Run by `test_fla_forms` in a process with TRITON_INTERPRET=1: fla's kernels behind our signatures, on a CPU.

Prints a line for each form: its name, then the largest error of outputs and states, and of gradients, against the
definition; `-` where there is no backward pass. fla's kernels run in half precision.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable

import torch
from torch import Tensor
from triton.runtime import interpreter
from triton.runtime.autotuner import Autotuner

from kernels.forms import CONVOLUTION, GATED_NORM, SEQUENCE
from kernels.packing import Packing
from kernels.recurrence import Result
from kernels.testing import Shape, agreement, relative_error, sequence_inputs

# Nothing can be timed here: every kernel runs in its first configuration.
Autotuner.run = lambda self, *args, **kwargs: self.fn.run(*args, **{**self.configs[0].kwargs, **kwargs})


def _scalars_for_numpy(tensor: object, scope: object, given: object = interpreter._patch_lang_tensor) -> None:
    """numpy 2.4 turns no array of one element into an int, which Triton 3.6's interpreter asks for in loops."""
    given(tensor, scope)  # type: ignore[operator]
    scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))  # type: ignore[attr-defined]


interpreter._patch_lang_tensor = _scalars_for_numpy

DTYPE = torch.float16
BORDERS = torch.tensor([0, 5, 21, 37])


def inputs_of(operator: str, batch: int, time: int, states: bool) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = Shape(batch=batch, time=time, heads=2, key_dim=16, value_dim=16)
    found = sequence_inputs(operator, shape, generator=generator, dtype=DTYPE, with_initial_state=states)
    return {name: x.float() if name == "initial_state" else x for name, x in found.items()}


def form_of(operator: str, backend: str) -> Callable[..., Result]:
    """The form with its inputs by name, in their order."""

    def form(initial_state: Tensor | None = None, cu_seqlens: Tensor | None = None, **inputs: Tensor) -> Result:
        packed = {} if cu_seqlens is None else {"cu_seqlens": cu_seqlens}
        options = {"initial_state": initial_state, "output_final_state": True, **packed}
        return SEQUENCE[operator][backend](*inputs.values(), **options)

    return form


def chunked(operator: str) -> str:
    inputs = inputs_of(operator, 1, 70, states=True)
    found = agreement(form_of(operator, "definition"), form_of(operator, "fla"), inputs)
    return f"{found.output:.1e} {max(found.gradients.values()):.1e}"


def decoded(operator: str) -> str:
    inputs = {name: x.detach() for name, x in inputs_of(operator, 2, 3, states=True).items()}
    with torch.no_grad():
        theirs = form_of(operator, "fla")(**inputs)
        exact = form_of(operator, "definition")(**{name: x.float() for name, x in inputs.items()})
    return f"{max(relative_error(x, y) for x, y in zip(theirs, exact, strict=True)):.1e} -"


def packed(operator: str) -> str:
    inputs = {name: x.detach() for name, x in inputs_of(operator, 1, 37, states=False).items()}
    states = torch.randn(3, 2, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        theirs = form_of(operator, "fla")(states, BORDERS.int(), **inputs)
    packing = Packing(BORDERS, inputs["q"])
    worst = 0.0
    for n, (begin, end) in enumerate(zip(BORDERS[:-1].tolist(), BORDERS[1:].tolist(), strict=True)):
        part = {name: x[:, begin:end].float() for name, x in inputs.items()}
        out, final = form_of(operator, "definition")(states[n : n + 1], **part)
        worst = max(worst, relative_error(theirs[0][:, begin:end], out), relative_error(theirs[1][n : n + 1], final))
    assert packing.count == 3
    return f"{worst:.1e} -"


def convolved() -> str:
    generator = torch.Generator().manual_seed(0)
    x, weight, state = (torch.randn(shape, generator=generator) for shape in ((2, 9, 8), (8, 4), (2, 3, 8)))
    inputs = {"x": x.to(DTYPE), "weight": weight.to(DTYPE)}
    found = agreement(CONVOLUTION["definition"], CONVOLUTION["fla"], inputs)
    with torch.no_grad():
        theirs = CONVOLUTION["fla"](**inputs, initial_state=state, output_final_state=True)
        exact = CONVOLUTION["definition"](x.to(DTYPE).float(), weight, initial_state=state, output_final_state=True)
    continued = max(relative_error(a, b) for a, b in zip(theirs, exact, strict=True))
    return f"{max(found.output, continued):.1e} {max(found.gradients.values()):.1e}"


def normed(activation: str) -> str:
    generator = torch.Generator().manual_seed(0)
    inputs = {
        name: torch.randn(shape, generator=generator).to(DTYPE)
        for name, shape in (("x", (2, 5, 2, 16)), ("gate", (2, 5, 2, 16)), ("weight", (16,)))
    }
    found = agreement(GATED_NORM["definition"], GATED_NORM["fla"], inputs, activation=activation)
    return f"{found.output:.1e} {max(found.gradients.values()):.1e}"


def main() -> None:
    cases = [(f"{check.__name__} {name}", check, name) for name in SEQUENCE for check in (chunked, decoded, packed)]
    cases += [(f"normed {name}", normed, name) for name in ("swish", "sigmoid")]
    for label, check, name in cases:
        try:
            print(label, check(name), flush=True)
        except Exception:  # noqa: BLE001 - what cannot be interpreted is named, the others go on
            traceback.print_exc()
            print(label, "failed failed", flush=True)
    print("convolved all", convolved(), flush=True)


if __name__ == "__main__":
    sys.exit(main())
