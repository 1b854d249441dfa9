"""The stand-in against fla's own kernels, which Triton's interpreter runs without a GPU."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from . import real_fla


@pytest.mark.nightly
def test_the_stand_in_computes_what_flas_kernels_compute():
    real_fla.folder()
    if importlib.util.find_spec("triton") is None:
        pytest.skip("Triton is not installed: fla's kernels cannot be interpreted")
    told = subprocess.run(
        [sys.executable, "-W", "ignore", str(Path(__file__).with_name("real_kernels.py"))],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env={"PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1", "TRITON_INTERPRET": "1"},
    )
    assert told.returncode == 0, told.stderr[-3000:]
    lines = [line.split() for line in told.stdout.splitlines()]
    assert len(lines) > 30
    wrong = [line for line in lines if max(map(float, line[1:])) > 1e-5]
    assert not wrong
