"""Compile the fused kernels for an H100 or H200, without one, and print what each takes: a program, run by test_fused.

Triton's launches are replaced by a compilation for compute capability 9.0 with the same arguments; nothing runs. A line
has: kernel, registers and bytes spilled of a thread, bytes of shared memory, seconds, kinds of loads and stores.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

HOPPER = GPUTarget("cuda", 90, 32)
_TYPES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
_OPTIONS = ("num_warps", "num_stages", "maxnreg")


def specialise(value: Any, path: tuple[int, ...], constants: dict[Any, Any], attributes: dict[Any, Any]) -> Any:
    """Type of an argument as Triton's launcher sees it: 1 and None are compiled in, divisibility by 16 is noted."""
    if isinstance(value, tuple):
        return tuple(specialise(x, (*path, i), constants, attributes) for i, x in enumerate(value))
    if value is None or (isinstance(value, int) and value == 1):
        constants[path] = value
        return "constexpr"
    if isinstance(value, Tensor) or (isinstance(value, int) and value % 16 == 0):
        attributes[path] = [["tt.divisibility", 16]]
    if isinstance(value, Tensor):
        return f"*{_TYPES[value.dtype]}"
    return "fp32" if isinstance(value, float) else "i32"


def compile_only(kernel: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> None:
    """In the place of a launch."""
    began = time.perf_counter()
    given = dict(zip((param.name for param in kernel.params), args, strict=False)) | options
    signature: dict[str, Any] = {}
    constants: dict[Any, Any] = {}
    attributes: dict[Any, Any] = {}
    for number, param in enumerate(kernel.params):
        if param.is_constexpr:
            signature[param.name], constants[(number,)] = "constexpr", given[param.name]
        else:
            signature[param.name] = specialise(given[param.name], (number,), constants, attributes)
    source = ASTSource(kernel, signature, constants, attributes)
    chosen = {name: options[name] for name in _OPTIONS if name in options}
    compiled = triton.compile(source, target=HOPPER, options=chosen)
    report(kernel.__name__, compiled, time.perf_counter() - began)


def report(name: str, compiled: Any, seconds: float) -> None:
    """One line of what the machine code takes."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
        usage = subprocess.run([tool, "--dump-resource-usage", file.name], capture_output=True, text=True, check=True)
    registers, local = (int(re.search(rf"{key}:(\d+)", usage.stdout)[1]) for key in ("REG", "STACK"))
    accesses = sorted(set(re.findall(r"(?:ld|st)\.global\.[\w.:]+", compiled.asm["ptx"])))
    print(f"{name} {registers} {local} {compiled.metadata.shared} {seconds:.1f}s {','.join(accesses)}", flush=True)


def main(long_taps: int, heads: int = 8, value_dim: int = 128) -> None:
    """Both operators, forward and backward, bf16. Many taps take seconds to compile."""
    from kernels.fused import path_fusion, two_scale_fir

    JITFunction.run = compile_only
    paths = [torch.zeros(2, 256, heads, value_dim, dtype=torch.bfloat16, requires_grad=True) for _ in range(4)]
    floor, heat = torch.zeros(heads, 4, requires_grad=True), torch.ones(heads, requires_grad=True)
    logits = torch.zeros(2, 256, heads, 4 + 2, requires_grad=True)
    options = {"gate": "two_stage", "groups": (1, 3), "temperature": heat, "floor": floor}
    path_fusion.fused(paths, logits, **options).sum().backward()
    logits = torch.zeros(2, 256, heads, 4, requires_grad=True)
    gates = ("softmax", "sigmoid") if long_taps > 8 else ("softmax",)
    for gate in gates:
        path_fusion.fused(paths, logits, gate=gate, floor=0.01).sum().backward()
    width = heads * value_dim
    x = torch.zeros(2, 256, width, dtype=torch.bfloat16, requires_grad=True)
    short, long = (torch.zeros(width, taps, requires_grad=True) for taps in (3, long_taps))
    (near, far), _ = two_scale_fir.fused(x, short, long)
    (near.sum() + far.sum()).backward()


if __name__ == "__main__":
    main(int(sys.argv[1]))
