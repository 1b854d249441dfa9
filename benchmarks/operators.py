"""Time of the sequence operators on one CPU core: in chunks, step by step, and in the form that is quadratic in T.

    python benchmarks/operators.py            # writes benchmarks/results/operators.json
    python benchmarks/operators.py --quick    # fewer lengths, one repeat, prints only

Forward and backward together, float32, the number of tokens held constant, the forms taken in turns and the least of
the repeats kept. Processor time, system calls included, so that a busy machine shows little. Operators with a decay per
channel have no quadratic form here: it needs [T, T, K] or overflows.

Shapes: B batch, T time, H heads, K head dim of keys and values.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.machine import RESULTS, write_result
from kernels.forms import SEQUENCE
from kernels.testing import SEQUENCE_OPERATORS, Shape, sequence_inputs

NUM_TOKENS, HEADS, HEAD_DIM = 4096, 4, 16
LENGTHS, QUICK_LENGTHS = (128, 512, 1024, 2048, 4096), (128, 512)
NO_SQUARE = ("gla", "kda", "dplr_delta_rule")  # a decay per channel needs [T, T, K] or overflows


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Milliseconds of one core for one forward and backward; `quadratic_ms` is None where there is no such form."""

    operator: str
    batch: int
    length: int
    chunkwise_ms: float
    time_loop_ms: float
    quadratic_ms: float | None


def attend_to_all(q: Tensor, k: Tensor, v: Tensor, g: Tensor | None = None, beta: Tensor | None = None) -> Tensor:
    """Every operator with a scalar decay as one T x T matrix of scores, o_BTHK."""
    q_BHTK, k_BHTK, v_BHTK = (x.transpose(1, 2) for x in (q * q.shape[-1] ** -0.5, k, v))
    decay_BHTT: Tensor | float = 1.0
    if g is not None:
        total_BHT = g.cumsum(1).transpose(1, 2)
        future_TT = torch.ones(q.shape[1], q.shape[1], dtype=torch.bool).triu(1)
        differences_BHTT = total_BHT.unsqueeze(-1) - total_BHT.unsqueeze(-2)
        decay_BHTT = differences_BHTT.masked_fill(future_TT, -math.inf).exp()
    if beta is not None:
        strength_BHT1 = beta.transpose(1, 2).unsqueeze(-1)
        overlap_BHTT = (strength_BHT1 * (k_BHTK @ k_BHTK.mT) * decay_BHTT).tril(-1)
        v_BHTK = torch.linalg.solve_triangular(overlap_BHTT, strength_BHT1 * v_BHTK, upper=False, unitriangular=True)
    scores_BHTT = (q_BHTK @ k_BHTK.mT).tril() * decay_BHTT
    return (scores_BHTT @ v_BHTK).transpose(1, 2)


def retain_all(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Retention as one T x T matrix."""
    g_H = torch.log1p(-torch.exp2(-5.0 - torch.arange(q.shape[2])))
    return attend_to_all(q, k, v, g_H.expand(q.shape[:3]))


def quadratic_form(operator: str) -> Callable[..., Tensor] | None:
    """The form that is quadratic in T, if there is one."""
    if operator in NO_SQUARE:
        return None
    return retain_all if operator == "retention" else attend_to_all


def least_ms(forms: dict[str, Callable[..., Tensor]], inputs: dict[str, Tensor], repeats: int) -> dict[str, float]:
    """Least processor time of each form in milliseconds, after one run that is not counted."""
    least = dict.fromkeys(forms, math.inf)
    upstream = torch.randn_like(inputs["v"])
    for repeat in range(repeats + 1):
        for name, form in forms.items():
            begun = time.process_time()
            torch.autograd.backward([form(**inputs)], [upstream])
            if repeat:
                least[name] = min(least[name], (time.process_time() - begun) * 1e3)
    return least


def measure(operator: str, length: int, repeats: int) -> Timing:
    """One operator at one length; asserts first that the forms agree."""
    shape = Shape(batch=NUM_TOKENS // length, time=length, heads=HEADS, key_dim=HEAD_DIM, value_dim=HEAD_DIM)
    generator = torch.Generator().manual_seed(0)
    inputs = sequence_inputs(operator, shape, generator=generator, dtype=torch.float32)
    forms: dict[str, Callable[..., Tensor]] = {
        "chunkwise": lambda **x: SEQUENCE[operator]["torch"](**x)[0],
        "time_loop": lambda **x: SEQUENCE[operator]["definition"](**x)[0],
    }
    quadratic = quadratic_form(operator)
    if quadratic is not None:
        forms["quadratic"] = quadratic
    with torch.no_grad():
        outputs = [form(**inputs) for form in forms.values()]
    for output in outputs[1:]:
        torch.testing.assert_close(output, outputs[0], rtol=1e-3, atol=1e-3)
    least = least_ms(forms, inputs, repeats)
    return Timing(
        operator=operator,
        batch=shape.batch,
        length=length,
        chunkwise_ms=round(least["chunkwise"], 3),
        time_loop_ms=round(least["time_loop"], 3),
        quadratic_ms=round(least["quadratic"], 3) if "quadratic" in least else None,
    )


def main() -> None:
    """Measure, print a table of ratios, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer lengths, one repeat; prints only")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder that operators.json goes to")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"forward + backward, {NUM_TOKENS} tokens, {HEADS} heads of {HEAD_DIM}, one thread")
    print(
        f"{'operator':<18}{'T':>6}{'chunks ms':>11}{'loop ms':>10}{'T^2 ms':>10}{'loop/chunks':>13}{'T^2/chunks':>12}"
    )
    timings = []
    for operator in SEQUENCE_OPERATORS:
        for length in QUICK_LENGTHS if arguments.quick else LENGTHS:
            row = measure(operator, length, repeats=1 if arguments.quick else 4)
            timings.append(row)
            squared = f"{row.quadratic_ms:>10.1f}" if row.quadratic_ms is not None else f"{'-':>10}"
            gain = f"{row.quadratic_ms / row.chunkwise_ms:>12.1f}" if row.quadratic_ms is not None else f"{'-':>12}"
            loop_gain = row.time_loop_ms / row.chunkwise_ms
            print(
                f"{operator:<18}{length:>6}{row.chunkwise_ms:>11.1f}{row.time_loop_ms:>10.1f}{squared}"
                f"{loop_gain:>13.1f}{gain}",
                flush=True,
            )
    if arguments.quick:
        return
    figures = {
        "what": f"processor time of forward + backward, float32, {NUM_TOKENS} tokens, {HEADS} heads of {HEAD_DIM}",
        "threads": torch.get_num_threads(),
        "timings": [asdict(row) for row in timings],
    }
    print(f"written: {write_result('operators', figures, arguments.results)}")


if __name__ == "__main__":
    main()
