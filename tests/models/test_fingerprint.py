from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from models.fingerprint import fingerprint
from models.loading import load_mixer

from .conftest import TOY, swapped

DUPLICATE = 1e-4


def vector(source: str) -> np.ndarray:
    mixer_class = load_mixer(source)
    return np.array(fingerprint(lambda layer: mixer_class(32, 2, layer_idx=layer), 32))


def distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm(one - other) / max(np.linalg.norm(one), np.linalg.norm(other)))


def test_it_is_64_finite_numbers_and_the_same_again():
    first = vector(TOY)
    assert first.shape == (64,)
    assert np.isfinite(first).all()
    torch.manual_seed(99)
    assert np.array_equal(first, vector(TOY))


def test_another_process_finds_the_same():
    code = (
        "import sys; from models.fingerprint import fingerprint; from models.loading import load_mixer\n"
        "c = load_mixer(sys.argv[1]); print(*fingerprint(lambda layer: c(32, 2, layer_idx=layer), 32))"
    )
    run = subprocess.run([sys.executable, "-c", code, TOY], check=True, capture_output=True, text=True)
    assert distance(np.array(run.stdout.split(), dtype=float), vector(TOY)) < 1e-9


REWRITES = {
    "renamed": TOY.replace("query", "gate_projection").replace("gain", "mix"),
    "reordered": TOY.replace(
        "        self.query = nn.Linear(hidden_size, hidden_size, bias=False)\n", ""
    ).replace(
        "        self.gain =",
        "        self.query = nn.Linear(hidden_size, hidden_size, bias=False)\n        self.gain =",
    ),
    "computed in another order": swapped("value + self.gain * mean", "mean * self.gain + value"),
    "scaled before averaging": swapped("value.cumsum(1) / count", "(0.5 * value).cumsum(1) * 2 / count"),
}  # fmt: skip


@pytest.mark.parametrize("source", REWRITES.values(), ids=REWRITES)
def test_the_same_design_written_otherwise_is_the_same(source: str):
    assert source != TOY
    assert distance(vector(TOY), vector(source)) < DUPLICATE


CHANGES = {
    "another activation": swapped("torch.sigmoid(", "torch.tanh("),
    "another initial constant": swapped("torch.zeros(hidden_size)", "torch.full((hidden_size,), 0.05)"),
    "another initial spread": swapped("* 0.2", "* 0.21"),
    "another filter length": TOY.replace("1, 4)", "1, 5)").replace("(3, 0)", "(4, 0)"),
    "another scale of the output": swapped("return self.out(", "return 1.01 * self.out("),
    "another second layer": swapped("torch.sigmoid(", "(torch.sigmoid if self.layer == 0 else torch.tanh)(").replace(
        "super().__init__()", "super().__init__(); self.layer = layer_idx"
    ),
    "a small term": swapped("value + self.gain * mean", "value + 1.01 * self.gain * mean"),
}


@pytest.mark.parametrize("source", CHANGES.values(), ids=CHANGES)
def test_another_design_is_apart(source: str):
    assert distance(vector(TOY), vector(source)) > 2 * DUPLICATE


def test_a_mixer_bound_to_float32_has_one_too():
    bound = vector(swapped("count = torch.arange", "x = x @ torch.eye(x.shape[-1]); count = torch.arange"))
    assert np.isfinite(bound).all()
    assert distance(bound, vector(TOY)) < DUPLICATE
