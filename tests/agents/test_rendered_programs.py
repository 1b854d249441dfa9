"""Whatever the grammar writes compiles, runs, learns and looks at the past only."""

from __future__ import annotations

import ast
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from agents.grammar.mutate import crossover, mutate, random_genome
from agents.grammar.token_mixer.genome import Decay, Genome, Write
from agents.grammar.token_mixer.known import BASELINE_GENOMES, KNOWN_GENOMES
from agents.grammar.token_mixer.render import render
from agents.grammar.token_mixer.rules import canonical
from agents.grammar.token_mixer.space import TOKEN_MIXERS
from models.cost import tensor_bytes
from models.fingerprint import fingerprint
from models.loading import load_mixer
from models.slots import published_source

D, H, T = 32, 4, 17
NUM_OUTPUTS = 56  # the fingerprint's first numbers: outputs; the rest describe initial weights


def build(genome: Genome) -> nn.Module:
    namespace: dict[str, object] = {"__name__": "candidate"}
    exec(compile(render(genome), "candidate", "exec"), namespace)
    torch.manual_seed(0)
    mixer = namespace["TokenMixer"](hidden_size=D, num_heads=H, layer_idx=1)  # type: ignore[operator]
    assert isinstance(mixer, nn.Module)
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return mixer


def check(genome: Genome) -> None:
    mixer = build(genome)
    x_BTD = torch.randn(2, T, D, generator=torch.Generator().manual_seed(1), requires_grad=True)
    y_BTD = mixer(x_BTD)
    assert y_BTD.shape == x_BTD.shape
    assert bool(torch.isfinite(y_BTD).all())
    (y_BTD * torch.linspace(-1, 1, y_BTD.numel()).view_as(y_BTD)).sum().backward()
    for name, parameter in mixer.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name
        assert bool(parameter.grad.any()), name
    cut = 9
    later_BTD = x_BTD.detach().clone()
    later_BTD[:, cut:] = 3.0 * torch.randn(2, T - cut, D, generator=torch.Generator().manual_seed(2))
    changed_BTD, prefix_BTD = mixer(later_BTD), mixer(x_BTD[:, :cut])
    torch.testing.assert_close(changed_BTD[:, :cut], y_BTD[:, :cut], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(prefix_BTD, y_BTD[:, :cut], rtol=1e-3, atol=1e-4)
    assert not torch.allclose(changed_BTD[:, cut:], y_BTD[:, cut:], atol=1e-3)
    check_decoding(mixer.eval(), x_BTD.detach())


def check_decoding(mixer: nn.Module, x_BTD: torch.Tensor) -> None:
    """Token by token as all at once, from as many bytes as the program says."""
    state, steps = None, []
    with torch.no_grad():
        whole_BTD = mixer(x_BTD)
        for x_BD in x_BTD.unbind(1):
            y_BD, state = mixer.step(x_BD, state)  # type: ignore[operator]
            steps.append(y_BD)
    torch.testing.assert_close(torch.stack(steps, 1), whole_BTD, rtol=1e-3, atol=1e-4)
    assert tensor_bytes(state) == x_BTD.shape[0] * mixer.state_bytes()  # type: ignore[operator]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1))
def test_random_mutated_and_crossed_designs_run_learn_and_are_causal(seed: int) -> None:
    rng = np.random.default_rng(seed)
    genome = random_genome(TOKEN_MIXERS, rng)
    if seed % 3 == 1:
        genome = mutate(TOKEN_MIXERS, genome, rng, num_changes=2)
    elif seed % 3 == 2:
        genome = crossover(TOKEN_MIXERS, genome, random_genome(TOKEN_MIXERS, rng), rng)
    check(genome)


@pytest.mark.parametrize("name", [*BASELINE_GENOMES, *KNOWN_GENOMES])
def test_known_designs_run_learn_and_are_causal(name: str) -> None:
    check({**BASELINE_GENOMES, **KNOWN_GENOMES}[name])


@pytest.mark.parametrize("decay", list(Decay))
@pytest.mark.parametrize("write", list(Write))
def test_every_memory_accepts_one_token_and_other_types(write: Write, decay: Decay) -> None:
    mixer = build(canonical(Genome(write=write, decay=decay, short_taps=3, long_taps=31, rotary=True)))
    assert mixer(torch.randn(3, 1, D)).shape == (3, 1, D)
    assert mixer.double()(torch.randn(1, 5, D, dtype=torch.float64)).dtype is torch.float64
    assert mixer.bfloat16()(torch.randn(1, 5, D, dtype=torch.bfloat16)).dtype is torch.bfloat16


@pytest.mark.parametrize("name", ["linear_attention", "delta_net", "gated_delta_net"])
def test_a_baseline_rendered_behaves_like_the_hand_written_one(name: str) -> None:
    def outputs(source: str) -> tuple[float, ...]:
        mixer_class = load_mixer(source)
        return fingerprint(lambda layer: mixer_class(D, H, layer), D)[:NUM_OUTPUTS]

    ours, theirs = outputs(render(BASELINE_GENOMES[name])), outputs(published_source("token_mixer", name))
    assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-4)


def test_equal_designs_give_equal_text_and_text_holds_only_what_is_used() -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        genome = random_genome(TOKEN_MIXERS, rng)
        source = render(genome)
        assert source == render(replace(genome))
        tree = ast.parse(source)
        loaded = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
        imported = {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert imported <= loaded
        assert defined <= loaded
        assigned = {
            node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        }
        read = {
            node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
        }
        assert assigned <= read
        assert all(len(line) <= 120 for line in source.splitlines())
        assert ast.get_docstring(tree)


def test_a_design_starts_with_filters_that_pass_values_through() -> None:
    namespace: dict[str, object] = {}
    genome = KNOWN_GENOMES["hier_gate_net"]
    exec(compile(render(genome), "candidate", "exec"), namespace)
    mixer = namespace["TokenMixer"](D, H)  # type: ignore[operator]
    assert torch.equal(mixer.long_fir[:, -1], torch.ones(D))
    assert not mixer.long_fir[:, :-1].any()
    assert mixer.long_fir.shape == (D, genome.long_taps)


def test_state_bytes_count_the_memory_and_every_look_back() -> None:
    namespace: dict[str, object] = {}
    exec(compile(render(KNOWN_GENOMES["hier_gate_net"]), "candidate", "exec"), namespace)
    mixer = namespace["TokenMixer"](D, H)  # type: ignore[operator]
    head_dim = D // H
    assert mixer.state_bytes() == 4 * (H * head_dim * head_dim + 3 * 3 * D + 62 * D)
