"""What the gates of the discoveries do: shut, open and keep every path learning."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from models.discoveries import fusion_gated_fir_net as fir
from models.discoveries import path_gate_fusion_net as path_gate

HEADS, WIDTH, TIME = 2, 32, 12


def _built(module) -> nn.Module:
    torch.manual_seed(0)
    return module.TokenMixer(WIDTH, HEADS).double()


def _inputs() -> torch.Tensor:
    return torch.randn(2, TIME, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def _stepped(mixer: nn.Module, x_BTD: torch.Tensor) -> torch.Tensor:
    state, outputs = None, []
    for x_BD in x_BTD.unbind(1):
        out, state = mixer.step(x_BD, state)
        outputs.append(out)
    return torch.stack(outputs, 1)


ways = pytest.mark.parametrize("run", [lambda mixer, x: mixer(x), _stepped], ids=["forward", "step"])


@ways
def test_a_half_open_output_gate_halves_its_heads_share(run):
    mixer = _built(path_gate)
    with torch.no_grad():
        mixer.head_gate.weight.zero_()
        mixer.head_gate.bias.fill_(50.0)
        whole = run(mixer, _inputs())
        mixer.head_gate.bias[1] = 0.0
        found = run(mixer, _inputs())
        mixer.o_proj.weight[:, : WIDTH // HEADS] = 0.0  # head 1 alone
        share = run(mixer, _inputs())
    torch.testing.assert_close(whole - found, share)
    assert share.abs().max() > 0.01


def test_every_path_learns_however_sure_the_router_is_of_copying():
    """At least a twentieth of the gradient at a logit of 0, with the always-on share at its least."""
    sizes = {}
    for logit in (0.0, 30.0):
        mixer = _built(path_gate)
        with torch.no_grad():
            mixer.residual.fill_(-50.0)
            mixer.router[-1].weight.zero_()
            mixer.router[-1].bias.zero_()
            mixer.router[-1].bias.view(HEADS, 5)[:, 0] = logit
        out = mixer(_inputs())
        (out * torch.randn(out.shape, generator=torch.Generator().manual_seed(2), dtype=out.dtype)).sum().backward()
        sizes[logit] = {
            name: mixer.get_parameter(name).grad.norm() for name in ("short_fir", "long_fir", "b_proj.weight")
        }
    for name, size in sizes[30.0].items():
        assert size > 0.05 * sizes[0.0][name], name


def test_the_router_has_no_logit_that_nothing_depends_on():
    mixer = _built(path_gate)
    mixer(_inputs()).square().sum().backward()
    assert (mixer.router[-1].bias.grad.abs() > 0).all()


@ways
def test_gates_that_close_together_make_the_output_smaller(run):
    mixer, outputs = _built(fir), []
    for logit in (50.0, 0.0, -50.0):
        with torch.no_grad():
            mixer.router.weight.zero_()
            mixer.router.bias.fill_(logit)
            outputs.append(run(mixer, _inputs()))
    torch.testing.assert_close(outputs[1], outputs[0] / 2)
    assert outputs[2].abs().max() < 1e-15
