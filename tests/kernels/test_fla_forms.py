"""fla's kernels behind our signatures: interpreted on a CPU, run where there is CUDA."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kernels import fla_forms
from kernels.forms import SEQUENCE
from kernels.testing import SEQUENCE_OPERATORS, Shape, agreement, sequence_inputs

# Triton 3.6's interpreter cannot run these kernels of fla 0.5; their recurrent forms it can.
NOT_INTERPRETED = {f"chunked {name}" for name in ("delta_rule", "gated_delta_rule", "kda", "dplr_delta_rule")}


@pytest.mark.nightly
def test_interpreted_kernels_compute_the_definitions() -> None:
    for package in ("triton", "fla"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: fla's kernels cannot be interpreted")
    told = subprocess.run(
        [sys.executable, "-W", "ignore", str(Path(__file__).with_name("interpreted_fla.py"))],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env={"PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1", "TRITON_INTERPRET": "1"},
    )
    assert told.returncode == 0, told.stderr[-3000:]
    found = {" ".join(line.split()[:2]): line.split()[2:] for line in told.stdout.splitlines()}
    assert len(found) == 3 * len(SEQUENCE_OPERATORS) + 3
    failed = {name for name, errors in found.items() if "failed" in errors}
    assert failed <= NOT_INTERPRETED, told.stderr[-3000:]
    errors = [float(error) for name in found.keys() - failed for error in found[name] if error != "-"]
    assert max(errors) < 2e-3


@pytest.mark.gpu
@pytest.mark.parametrize("operator", SEQUENCE_OPERATORS)
@pytest.mark.parametrize(("time", "head_dim"), [(1, 64), (63, 64), (65, 32), (1000, 128)])
@pytest.mark.parametrize("backend", ["fla", "torch"])
def test_forms_on_a_gpu_compute_the_definitions(operator: str, time: int, head_dim: int, backend: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    if backend == "fla" and not fla_forms.installed():
        pytest.skip("flash-linear-attention is not installed")
    dtype, tolerance = (torch.bfloat16, 0.02) if backend == "fla" else (torch.float32, 1e-3)
    shape = Shape(time=time, heads=4, key_dim=head_dim, value_dim=head_dim)
    generator = torch.Generator().manual_seed(0)
    inputs = sequence_inputs(operator, shape, generator=generator, dtype=dtype, with_initial_state=True)
    on_gpu = {name: x.detach().cuda() for name, x in inputs.items()}

    def named(form):
        def run(initial_state, **tensors):
            return form(*tensors.values(), initial_state=initial_state, output_final_state=True)

        return run

    forms = SEQUENCE[operator]
    assert agreement(named(forms["definition"]), named(forms[backend]), on_gpu).worst < tolerance
