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


def test_it_is_88_finite_numbers_and_the_same_again():
    first = vector(TOY)
    assert first.shape == (88,)
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


ROLES = '''
import torch
from torch import nn
import torch.nn.functional as F


class TokenMixer(nn.Module):
    """Linear attention whose output is gated by one of its projections."""

    def __init__(self, hidden_size, num_heads, layer_idx=0, **kwargs):
        super().__init__()
        self.q = nn.Linear(hidden_size, hidden_size, bias=False)
        self.k = nn.Linear(hidden_size, hidden_size, bias=False)
        self.v = nn.Linear(hidden_size, hidden_size, bias=False)
        self.o = nn.Linear(hidden_size, hidden_size, bias=False)

    def forward(self, x):
        q, k, v = self.q(x), self.k(x), self.v(x)
        read = torch.tril(q @ k.mT) @ v
        return self.o(torch.sigmoid(q) * read)
'''
GATED_BY = {name: ROLES.replace("sigmoid(q)", f"sigmoid({name})") for name in ("q", "k", "v")}


@pytest.mark.parametrize(("one", "other"), [("q", "k"), ("q", "v"), ("k", "v")])
def test_who_plays_which_role_among_equally_shaped_weights_is_seen(one: str, other: str):
    first, second = vector(GATED_BY[one]), vector(GATED_BY[other])
    assert distance(first, second) > 1e-2


def test_exchanged_names_and_order_of_equally_shaped_weights_leave_no_trace():
    renamed = ROLES.replace("self.q", "self.a").replace("self.k", "self.q").replace("self.a", "self.k")
    lines = [line for line in ROLES.splitlines() if "nn.Linear" in line]
    reordered = ROLES.replace("\n".join(lines), "\n".join(lines[::-1]))
    assert len({ROLES, renamed, reordered}) == 3
    for source in (renamed, reordered):
        assert distance(vector(ROLES), vector(source)) < 1e-9


def test_weights_of_a_shape_of_their_own_and_more_than_can_be_moved_have_no_roles():
    many = ROLES.replace(
        "        self.o =",
        "        self.extra = nn.ParameterList(nn.Parameter(torch.zeros(3)) for _ in range(25))\n        self.o =",
    ).replace("return self.o(", "return sum(p.sum() for p in self.extra) + self.o(")
    few = many.replace("range(25)", "range(5)")
    found = [vector(source)[64:] for source in (many, few, ROLES)]
    assert np.linalg.norm(found[0] - found[1]) > 1e-3
    alone = ROLES.replace("        self.k = nn.Linear(hidden_size, hidden_size, bias=False)\n", "")
    alone = alone.replace("        self.v = nn.Linear(hidden_size, hidden_size, bias=False)\n", "")
    alone = alone.replace("        self.o = nn.Linear(hidden_size, hidden_size, bias=False)\n", "")
    alone = alone.replace("self.k(x), self.v(x)", "x, x").replace("self.o(", "(")
    assert not vector(alone)[64:].any()
