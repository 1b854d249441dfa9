"""Layers of an installed flash-linear-attention: their source files, unchanged, over the stand-in."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from models.entry import with_entry
from models.fla_standin import installed
from models.fla_standin.compiling import compilation_skipped
from models.loading import load_mixer

from . import real_fla

LAYERS = {
    "delta_net": "DeltaNet",
    "gated_deltanet": "GatedDeltaNet",
    "gla": "GatedLinearAttention",
    "hgrn": "HGRNAttention",
    "kda": "KimiDeltaAttention",
    "lightnet": "LightNetAttention",
    "linear_attn": "LinearAttention",
    "multiscale_retention": "MultiScaleRetention",
    "simple_gla": "SimpleGatedLinearAttention",
}
NEEDS_TRANSFORMERS = ("multiscale_retention",)


@pytest.fixture(autouse=True)
def in_place() -> Iterator[None]:
    with installed(), compilation_skipped(), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        torch.manual_seed(0)
        yield


def layer(name: str) -> nn.Module:
    path = real_fla.folder() / "layers" / f"{name}.py"
    if not path.is_file():
        pytest.skip(f"this release of flash-linear-attention has no {path.name}")
    if name in NEEDS_TRANSFORMERS and importlib.util.find_spec("transformers") is None:
        pytest.skip(f"{path.name} imports transformers, which is not installed")
    found = load_mixer(with_entry(path.read_text(encoding="utf-8")))
    assert found.__name__ == LAYERS[name]
    return found(64, 4, layer_idx=1)


@pytest.mark.parametrize("name", LAYERS)
def test_it_runs_forward_and_backward_at_lengths_of_either_mode(name: str):
    mixer = layer(name)
    for length in (1, 33, 70):
        mixer.zero_grad()
        x = torch.randn(2, length, 64, requires_grad=True)
        y = mixer(x)
        assert y.shape == x.shape
        y.square().sum().backward()
        assert bool(x.grad.isfinite().all())
    missing = [key for key, value in mixer.named_parameters() if value.grad is None or not value.grad.any()]
    assert not missing


@pytest.mark.parametrize("name", LAYERS)
def test_decoding_through_its_cache_is_its_parallel_form(name: str):
    mixer = layer(name).eval()
    x = torch.randn(2, 12, 64)
    state, outs = None, []
    with torch.no_grad():
        for x_BD in x.unbind(1):
            y, state = mixer.step(x_BD, state)
            outs.append(y)
        assert torch.allclose(torch.stack(outs, 1), mixer(x), atol=2e-5)


@pytest.mark.parametrize("name", [name for name in LAYERS if name not in ("hgrn", "linear_attn", "lightnet")])
def test_padding_at_the_left_does_not_show(name: str):
    """Those left out mask the values alone, so that their padding still decays and normalises."""
    mixer = layer(name).eval()
    x = torch.randn(2, 40, 64)
    mask = torch.ones(2, 40, dtype=torch.long)
    mask[1, :9] = 0
    with torch.no_grad():
        masked = mixer(x, attention_mask=mask)
        assert torch.allclose(masked[1, 9:], mixer(x[1:, 9:])[0], atol=2e-5)
        assert torch.allclose(masked[0], mixer(x[:1])[0], atol=2e-5)


def test_relative_imports_start_where_flas_layers_are():
    source = "from .utils import get_unpad_data\nfrom ..modules import RMSNorm\nfrom ..ops.gla import chunk_gla\n"
    source += (
        "class Layer(RMSNorm):\n    def forward(self, hidden_states):\n        return super().forward(hidden_states)\n"
    )
    assert load_mixer(with_entry(source))(8, 1)(torch.randn(1, 2, 8)).shape == (1, 2, 8)
