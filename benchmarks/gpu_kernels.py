"""The fused Triton kernels on a GPU: against torch.compile of the PyTorch form, eager PyTorch, and the copy bandwidth.

    python benchmarks/gpu_kernels.py            # needs CUDA, torch, triton; writes benchmarks/results/gpu_kernels.json
    python benchmarks/gpu_kernels.py --quick    # correctness on tiny shapes, on a CPU through Triton's interpreter

Every operator is first compared with its definition, output and all gradients. Then 65,536 steps of width 1024 in bf16:
path fusion of 4 paths (8 heads of 128, softmax with learned temperatures and floors), and two-scale FIR with 3 and 64
taps. Milliseconds are medians of CUDA events, the forms taken in turns. Bandwidth counts the bytes that have to be read
and written once, against a measured copy of 1 GiB. Each operator takes less than two minutes, and the file is written
after each.

Shapes: B batch, T time, H heads, V value dim per head, D width, P paths.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.machine import RESULTS, write_result

BATCH, LENGTH, HEADS, VALUE_DIM, NUM_PATHS, TAPS = 32, 2048, 8, 128, 4, (3, 64)
GOAL = 1.5  # times as fast as torch.compile
BOUND = {torch.float32: 1e-4, torch.bfloat16: 2e-2}
_BUDGET_S = 4.0  # of timing for each operator, form and direction, compilation apart
_HALF = 2  # bytes of a bf16 number

Form = Callable[..., Sequence[Tensor]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """An operator to be measured: its forms, each from leaves to outputs, and what memory has to move."""

    name: str
    definition: Form
    fused: Form
    rivals: dict[str, Form]  # the first is the one that the goal is about
    leaves: Callable[..., list[Tensor]]
    forward_passes: int  # over a [B, T, D] tensor, that cannot be avoided
    backward_passes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Median milliseconds of every form, how much faster the fused one is, and its share of the copy bandwidth."""

    operator: str
    direction: str
    milliseconds: dict[str, float]
    speedup: dict[str, float]
    bandwidth_share: float


def fusion_leaves(batch: int, length: int, heads: int, value_dim: int, dtype: torch.dtype, device: str) -> list[Tensor]:
    """Paths, then logits, a temperature for each head, a floor for each head and path."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device, dtype)

    paths = [normal(batch, length, heads, value_dim) for _ in range(NUM_PATHS)]
    logits, temperature = normal(batch, length, heads, NUM_PATHS), torch.linspace(0.5, 2.0, heads, device=device)
    floor = torch.full((heads, NUM_PATHS), 0.02, device=device)
    return [leaf.requires_grad_() for leaf in (*paths, logits, temperature, floor)]


def fir_leaves(batch: int, length: int, heads: int, value_dim: int, dtype: torch.dtype, device: str) -> list[Tensor]:
    """x, the short and the long filter."""
    generator = torch.Generator().manual_seed(0)
    width = heads * value_dim
    x = torch.randn(batch, length, width, generator=generator).to(device, dtype)
    filters = [(torch.randn(width, taps, generator=generator) / math.sqrt(taps)).to(device) for taps in TAPS]
    return [leaf.requires_grad_() for leaf in (x, *filters)]


def convolve_half(x: Tensor, short: Tensor, long: Tensor) -> list[Tensor]:
    """Both filters as conv1d of x in its own precision: no definition, but what one would write in bf16."""
    x_BDT = x.transpose(1, 2)
    padded = [(F.pad(x_BDT, (weight.shape[1] - 1, 0)), weight.to(x.dtype).unsqueeze(1)) for weight in (short, long)]
    return [F.conv1d(x_BDN, weight, groups=x.shape[2]).transpose(1, 2) for x_BDN, weight in padded]


def operators() -> list[Operator]:
    """Both operators; imports triton."""
    from kernels import path_fusion, two_scale_fir
    from kernels.fused import path_fusion as fused_path_fusion
    from kernels.fused import two_scale_fir as fused_two_scale_fir

    def fuse(form: Callable[..., Tensor]) -> Form:
        return lambda *leaves: [form(leaves[:-3], leaves[-3], temperature=leaves[-2], floor=leaves[-1])]

    def filter_(form: Callable[..., tuple[Sequence[Tensor], Tensor | None]]) -> Form:
        return lambda x, short, long: list(form(x, short, long)[0])

    return [
        Operator(
            name="path_fusion",
            definition=fuse(path_fusion.reference),
            fused=fuse(fused_path_fusion.fused),
            rivals={"compiled": torch.compile(fuse(path_fusion.pytorch)), "eager": fuse(path_fusion.pytorch)},
            leaves=fusion_leaves,
            forward_passes=NUM_PATHS + 1,
            backward_passes=1 + 2 * NUM_PATHS,
        ),
        Operator(
            name="two_scale_fir",
            definition=filter_(two_scale_fir.reference),
            fused=filter_(fused_two_scale_fir.fused),
            rivals={
                "compiled": torch.compile(filter_(two_scale_fir.pytorch)),
                "eager": filter_(two_scale_fir.pytorch),
                "bf16 conv1d": torch.compile(convolve_half),
            },
            leaves=fir_leaves,
            forward_passes=3,
            backward_passes=4,
        ),
    ]


def check(operator: Operator, *, batch: int, length: int, heads: int, value_dim: int, device: str) -> None:
    """Stop unless the fused form agrees with the definition, output and all gradients, in both precisions."""
    from kernels.testing import relative_error

    for dtype, bound in BOUND.items():
        leaves = operator.leaves(batch, length, heads, value_dim, dtype, device)
        truth, found = (_results(form, leaves) for form in (operator.definition, operator.fused))
        worst = max(relative_error(mine, exact) for mine, exact in zip(found, truth, strict=True))
        print(f"{operator.name:<14} {str(dtype)[6:]:<9} T={length}: largest relative error {worst:.1e}", flush=True)
        if not worst < bound:
            sys.exit(f"{operator.name} in {dtype} is off by {worst:.1e}, more than {bound:.0e}: nothing is timed")


def _results(form: Form, leaves: list[Tensor]) -> list[Tensor]:
    outputs = list(form(*leaves))
    generator = torch.Generator().manual_seed(1)
    upstream = [torch.randn(x.shape, generator=generator).to(x) for x in outputs]
    return [x.detach() for x in (*outputs, *torch.autograd.grad(outputs, leaves, upstream))]


def medians_ms(forms: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Median time of each form by CUDA events, in turns.

    A short form runs several times between two events, so that the device never waits for Python.
    """
    turns, repeats = 15, {}
    for name, form in forms.items():
        form()  # compiles
        torch.cuda.synchronize()
        began = time.perf_counter()
        form()
        torch.cuda.synchronize()
        once_s = time.perf_counter() - began
        repeats[name] = max(1, min(10, int(0.1 / once_s)))
        turns = max(3, min(turns, int(_BUDGET_S / (repeats[name] * once_s))))
    spans: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(turns):
        for name, form in forms.items():
            before, after = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            before.record()
            for _ in range(repeats[name]):
                form()
            after.record()
            after.synchronize()
            spans[name].append(before.elapsed_time(after) / repeats[name])
    return {name: statistics.median(found) for name, found in spans.items()}


def copy_bandwidth() -> float:
    """Bytes read and written a second by a copy of 1 GiB."""
    source = torch.empty(2**30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.numel() / (medians_ms({"copy": lambda: target.copy_(source)})["copy"] * 1e-3)


def measure(operator: Operator, bandwidth: float) -> list[Timing]:
    """Forward alone, then forward and backward."""
    leaves = operator.leaves(BATCH, LENGTH, HEADS, VALUE_DIM, torch.bfloat16, "cuda")
    forms = {"fused": operator.fused, **operator.rivals}
    upstream = [torch.randn_like(x) for x in operator.fused(*leaves)]

    def forward(form: Form) -> None:
        with torch.no_grad():
            form(*leaves)

    def both(form: Form) -> None:
        torch.autograd.grad(form(*leaves), leaves, upstream)

    passes = {"forward": operator.forward_passes, "both": operator.forward_passes + operator.backward_passes}
    timings = []
    for direction, run in (("forward", forward), ("both", both)):
        spans = medians_ms({name: partial(run, form) for name, form in forms.items()})
        moved = passes[direction] * BATCH * LENGTH * HEADS * VALUE_DIM * _HALF
        timings.append(
            Timing(
                operator=operator.name,
                direction=direction,
                milliseconds={name: round(span, 4) for name, span in spans.items()},
                speedup={name: round(spans[name] / spans["fused"], 2) for name in operator.rivals},
                bandwidth_share=round(moved / (spans["fused"] * 1e-3) / bandwidth, 3),
            )
        )
    return timings


def print_timing(row: Timing) -> None:
    """One line for each form."""
    for name, span in row.milliseconds.items():
        told = f"{row.operator:<14}{row.direction:<9}{name:<12}{span:>10.3f} ms"
        if name == "fused":
            print(f"{told}   {row.bandwidth_share:.0%} of the copy bandwidth")
        else:
            goal = f" (goal {GOAL})" if name == "compiled" else ""
            print(f"{told}   fused is {row.speedup[name]:.2f} times as fast{goal}")
    sys.stdout.flush()


def main() -> None:
    """Check, measure, print a table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="correctness on tiny shapes alone; needs no GPU")
    parser.add_argument("--operator", choices=("path_fusion", "two_scale_fir"), help="this one alone")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder that gpu_kernels.json goes to")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="figures alone, there and not to --results")
    arguments = parser.parse_args()
    on_cuda = torch.cuda.is_available()
    if not on_cuda and not arguments.quick:
        sys.exit("no CUDA device, so there is nothing to time: run it on a GPU, or with --quick for correctness alone")
    if not on_cuda:
        os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported
    measured = [operator for operator in operators() if arguments.operator in (None, operator.name)]
    if arguments.quick:
        for operator in measured:
            check(operator, batch=2, length=9, heads=2, value_dim=4, device="cuda" if on_cuda else "cpu")
        return
    bandwidth = copy_bandwidth()
    print(f"{torch.cuda.get_device_name()}: a copy moves {bandwidth / 1e12:.2f} TB/s", flush=True)
    timings: list[Timing] = []
    for operator in measured:
        check(operator, batch=2, length=1000, heads=3, value_dim=40, device="cuda")
        rows = measure(operator, bandwidth)
        for row in rows:
            print_timing(row)
        timings += rows
        figures = {
            "what": f"bf16, B={BATCH} T={LENGTH} H={HEADS} V={VALUE_DIM}, {NUM_PATHS} paths, {TAPS} taps; medians",
            "gpu": torch.cuda.get_device_name(),
            "cuda": torch.version.cuda,
            "copy_bytes_per_s": round(bandwidth),
            "timings": [asdict(row) for row in timings],
        }
        if arguments.out is not None:
            arguments.out.write_text(json.dumps(figures))
        else:
            print(f"written: {write_result('gpu_kernels', figures, arguments.results)}", flush=True)


if __name__ == "__main__":
    main()
