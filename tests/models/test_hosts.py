"""Hosts of other kinds: candidates in the feed-forward's place, and softmax attention in a share of the layers."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import sys
from collections.abc import Iterator, Mapping

import numpy as np
import pytest
import torch
from torch import Tensor

from models.backbone import (
    CannotFit,
    LanguageModel,
    build,
    fit_ffn_width,
    host_mixer,
    non_embedding_parameters,
    reference_parameters,
)
from models.data import Batch
from models.loading import load_mixer
from models.properties import examine
from models.scale import ModelSize, load_scale
from models.slots import SLOTS, published_source
from models.training import TrainingPoint, train

from .conftest import CHANNEL_TOY, TOY, failures

CHANNEL = SLOTS["channel_mixer"]
TOKEN = SLOTS["token_mixer"]
EXPLORE = load_scale("cpu").stage("explore").size
TOY_CHANNEL = load_mixer(CHANNEL_TOY, CHANNEL.entry)


def digest(state: Mapping[str, Tensor]) -> str:
    """Of names, shapes and values: matrices, which are drawn, to the last bit, and the rest to three places."""
    found = hashlib.sha256()
    for name, value in state.items():
        found.update(f"{name}{tuple(value.shape)}".encode())
        places = repr([round(float(number), 3) for number in value.flatten()]).encode()
        found.update(value.numpy().tobytes() if value.dim() > 1 else places)
    return found.hexdigest()[:16]


def test_the_token_mixers_host_starts_as_it_always_did():
    """Another digest is another host: no campaign could be compared with earlier ones."""
    mixer = load_mixer(published_source(TOKEN.name, "gated_delta_net"))
    width = fit_ffn_width(mixer, EXPLORE, reference_parameters(EXPLORE, TOKEN.name))
    assert width == 152
    assert digest(build(mixer, EXPLORE, width, seed=0).state_dict()) == "9144e9ab4c747578"


def channel_model(candidate: type[torch.nn.Module], size: ModelSize, seed: int = 0, width: int = 48) -> LanguageModel:
    return build(candidate, size, width, seed, CHANNEL.name)


def test_everything_around_channel_mixers_is_the_same_for_all_of_one_seed(size: ModelSize):
    greedy = load_mixer(
        CHANNEL_TOY.replace("super().__init__()", "super().__init__(); torch.randn(1000)"), CHANNEL.entry
    )
    one, other = (channel_model(candidate, size).state_dict() for candidate in (TOY_CHANNEL, greedy))
    fresh = channel_model(TOY_CHANNEL, size, seed=1).state_dict()
    assert not torch.equal(one["blocks.0.ffn.up.weight"], other["blocks.0.ffn.up.weight"])
    for name in one:
        if ".ffn." not in name:
            assert torch.equal(one[name], other[name]), name
            assert one[name].dim() < 2 or not torch.equal(one[name], fresh[name]), name
    first, second = one["blocks.0.mixer.q_proj.weight"], one["blocks.1.mixer.q_proj.weight"]
    assert not torch.equal(first, second)


def test_candidates_keep_the_weights_that_they_chose(size: ModelSize):
    filled = "        nn.init.constant_(self.down.weight, 0.25)\n        self.gain"
    constant = CHANNEL_TOY.replace("        self.gain", filled)
    model = channel_model(load_mixer(constant, CHANNEL.entry), size)
    assert all(bool((block.ffn.down.weight == 0.25).all()) for block in model.blocks)  # type: ignore[union-attr]
    assert isinstance(model.blocks[0].mixer, host_mixer("gated_delta_net"))


@pytest.mark.parametrize("name", CHANNEL.baselines)
@pytest.mark.parametrize("stage", ["explore", "verify"])
@pytest.mark.parametrize("scale", ["cpu", "tiny"])
def test_every_channel_baseline_fits(scale: str, stage: str, name: str):
    size = load_scale(scale).stage(stage).size
    target = reference_parameters(size, CHANNEL.name)
    candidate = load_mixer(published_source(CHANNEL.name, name), CHANNEL.entry)
    width = fit_ffn_width(candidate, size, target, CHANNEL.name)
    fitted = non_embedding_parameters(channel_model(candidate, size, width=width).state_dict())
    assert abs(fitted / target - 1) <= 0.02
    assert name.endswith("mlp") or width == size.ffn_width


@pytest.mark.parametrize(
    ("inner", "fits"),
    [
        ("width", True),
        ("2 * width", True),
        ("width // 3", True),
        ("max(8, width - 100)", True),
        ("int(width**1.3 / 4)", True),  # not linear
        ("160", False),  # ignores it, and is too large
        ("8", False),  # ignores it, and is too small
        ("6 * width", False),  # too large at the floor
        ("max(1, 300 - width)", False),  # falls with the width
    ],
)
def test_a_width_is_found_where_parameters_follow_it(size: ModelSize, inner: str, fits: bool):
    source = CHANNEL_TOY.replace("super().__init__()", f"super().__init__(); width = {inner}")
    candidate, target = load_mixer(source, CHANNEL.entry), reference_parameters(size, CHANNEL.name)
    target += 50_000 if inner == "160" else 0
    if not fits:
        with pytest.raises(CannotFit, match="follow `width`"):
            fit_ffn_width(candidate, size, target, CHANNEL.name)
        return
    width = fit_ffn_width(candidate, size, target, CHANNEL.name)
    assert width % 8 == 0
    fitted = non_embedding_parameters(channel_model(candidate, size, width=width).state_dict())
    assert abs(fitted / target - 1) <= 0.02


def hybrid(size: ModelSize, every: int) -> ModelSize:
    return dataclasses.replace(size, num_layers=4, softmax_every=every)


def test_every_so_many_layers_one_is_softmax_attention_and_the_rest_are_the_candidates(size: ModelSize):
    mixer, softmax = load_mixer(TOY), host_mixer("softmax_attention")
    for every, layers in ((0, ()), (2, (1, 3)), (3, (2,)), (4, (3,))):
        blocks = build(mixer, hybrid(size, every), 160, seed=0).blocks
        assert tuple(layer for layer, block in enumerate(blocks) if isinstance(block.mixer, softmax)) == layers
        assert sum(isinstance(block.mixer, mixer) for block in blocks) == 4 - len(layers)
    channel = build(TOY_CHANNEL, hybrid(size, 1), 48, 0, CHANNEL.name).blocks
    assert all(isinstance(block.mixer, softmax) and isinstance(block.ffn, TOY_CHANNEL) for block in channel)


def test_a_stack_without_a_layer_for_the_candidate_is_refused(size: ModelSize):
    with pytest.raises(ValueError, match="softmax_every is 1 with 4 layers"):
        build(load_mixer(TOY), hybrid(size, 1), 160, seed=0)
    assert TOKEN.candidate_layers(hybrid(size, 2)) == (0, 2)
    assert CHANNEL.candidate_layers(hybrid(size, 1)) == (0, 1, 2, 3)


@pytest.mark.parametrize("slot", SLOTS.values(), ids=SLOTS)
def test_hybrid_stacks_are_matched_in_parameters_too(slot):
    size = dataclasses.replace(EXPLORE, num_layers=4, softmax_every=4)
    target = reference_parameters(size, slot.name)
    for name in slot.baselines:
        candidate = load_mixer(published_source(slot.name, name), slot.entry)
        width = fit_ffn_width(candidate, size, target, slot.name)
        fitted = non_embedding_parameters(build(candidate, size, width, 0, slot.name).state_dict())
        assert abs(fitted / target - 1) <= 0.02, name


def counting(num_tokens: int) -> Iterator[Batch]:
    """Sequences that count upwards: the next token is one more."""
    rng = np.random.default_rng(0)
    while True:
        tokens = (rng.integers(num_tokens, size=(8, 1)) + np.arange(17)) % num_tokens
        yield Batch(inputs=tokens[:, :-1].copy(), targets=tokens[:, 1:].copy())


@pytest.mark.parametrize(("slot", "every"), [("token_mixer", 2), ("channel_mixer", 2), ("channel_mixer", 0)])
def test_such_hosts_train(size: ModelSize, slot: str, every: int):
    chosen, small = SLOTS[slot], dataclasses.replace(size, vocab_size=16, softmax_every=every)
    candidate = load_mixer(published_source(slot, chosen.reference), chosen.entry)
    model, points = build(candidate, small, size.ffn_width, 0, slot), list[TrainingPoint]()
    train(model, counting(16), steps=30, learning_rate=1e-2, warmup_steps=3, report_every=10, report=points.append)
    assert points[-1].loss < 0.5 * points[0].loss


@pytest.mark.parametrize("slot", SLOTS)
def test_the_gate_passes_baselines_in_a_hybrid_host(slot: str):
    size = dataclasses.replace(EXPLORE, softmax_every=2)
    source = published_source(slot, SLOTS[slot].reference)
    found = examine(source, slot, size, reference_parameters(size, slot))
    assert failures(found) == {}


def test_the_package_is_importable_without_its_baselines_being_loaded():
    code = "import sys, models.backbone; sys.exit(any(name.startswith('models.baselines.') for name in sys.modules))"
    subprocess.run([sys.executable, "-c", code], check=True)
