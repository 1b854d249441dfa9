"""Every baseline of the slot is a valid candidate and what its paper says."""

from __future__ import annotations

import ast
import math
from importlib import import_module

import pytest
import torch

from models.loading import load_mixer
from models.slots import SLOTS, published_source

SLOT = SLOTS["channel_mixer"]
D, W = 8, 24


def built(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return load_mixer(published_source(SLOT.name, name), SLOT.entry)(D, W, layer_idx=0).double()


def gelu(x: torch.Tensor) -> torch.Tensor:
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def silu(x: torch.Tensor) -> torch.Tensor:
    return x / (1 + torch.exp(-x))


EQUATIONS = {
    "gelu_mlp": lambda m, x: gelu(x @ m.up.weight.T),
    "relu2_mlp": lambda m, x: (x @ m.up.weight.T).clamp(min=0) ** 2,
    "reglu": lambda m, x: (x @ m.gate.weight.T).clamp(min=0) * (x @ m.up.weight.T),
    "geglu": lambda m, x: gelu(x @ m.gate.weight.T) * (x @ m.up.weight.T),
    "swiglu": lambda m, x: silu(x @ m.gate.weight.T) * (x @ m.up.weight.T),
}


@pytest.mark.parametrize("name", SLOT.baselines)
def test_it_computes_its_equation(name: str):
    mixer, x = built(name), torch.randn(2, 5, D, dtype=torch.float64)
    torch.testing.assert_close(mixer(x), EQUATIONS[name](mixer, x) @ mixer.down.weight.T)


@pytest.mark.parametrize("name", SLOT.baselines)
def test_docstring_names_paper_and_equation_and_imports_are_torchs(name: str):
    text = import_module(f"models.channel_mixers.{name}").__doc__
    assert "arXiv" in text
    assert "y = W_o" in text
    for node in ast.walk(ast.parse(published_source(SLOT.name, name))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            assert {item.split(".")[0] for item in names} == {"torch"}
