"""What the gates of the discoveries do: shut, open, keep every path learning, keep from collapsing."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from models.discoveries import ada_multi_path_gate_net as ada
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


def _lacking(logits: torch.Tensor) -> torch.Tensor:
    logs = logits.log_softmax(-1)
    return (logs.exp() * logs).sum(-1)


@pytest.mark.parametrize("upstream", [0.0, 1e-9, 1e3])
def test_the_entropy_penalty_is_what_its_term_in_the_loss_gives_whatever_arrives(upstream):
    logits = torch.randn(3, TIME, HEADS, 4, dtype=torch.float64, requires_grad=True)
    (found,) = torch.autograd.grad((upstream * ada.kept_open(logits)).sum(), logits)
    (wanted,) = torch.autograd.grad(ada.ENTROPY_WEIGHT / ada.BATCH * _lacking(logits).mean((1, 2)).sum(), logits)
    torch.testing.assert_close(found - upstream, wanted, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("size", [1, 3])
def test_the_entropy_penalty_of_pieces_adds_up_to_that_of_the_batch(size):
    x, gradients = torch.randn(8, TIME, WIDTH, dtype=torch.float64), []
    for pieces in (x.split(8), x.split(size)):
        mixer = _built(ada)
        with torch.no_grad():
            mixer.global_logits.copy_(torch.tensor([2.0, 0.0, -1.0, 0.0]))
        for piece in pieces:
            (0.0 * mixer(piece)).sum().backward()
        gradients.append(mixer.router.weight.grad)
    assert gradients[0].abs().max() > 0
    torch.testing.assert_close(gradients[1], gradients[0])


def test_the_entropy_penalty_is_for_training_alone():
    mixer = _built(ada).eval()
    (0.0 * mixer(_inputs())).sum().backward()
    assert not mixer.router.weight.grad.any()


def test_the_entropy_penalty_keeps_a_gate_from_collapsing_onto_the_path_that_fits():
    generator = torch.Generator().manual_seed(0)
    paths_PV = torch.randn(4, 16, generator=generator)

    def final_entropy(*, penalised: bool) -> float:
        logits = nn.Parameter(torch.zeros(4))
        optimiser = torch.optim.SGD([logits], lr=3.0)
        for _ in range(2000):
            of_batch = logits.expand(ada.BATCH, 1, 1, 4)
            weights = (ada.kept_open(of_batch) if penalised else of_batch).softmax(-1)
            optimiser.zero_grad()
            (weights @ paths_PV - paths_PV[3]).square().mean().backward()
            optimiser.step()
        return float(-_lacking(logits.detach()))

    assert final_entropy(penalised=True) > 5 * final_entropy(penalised=False)
