from __future__ import annotations

import dataclasses

import pytest
import torch

from models.backbone import CannotFit, build, fit_ffn_width, non_embedding_parameters, reference_parameters
from models.loading import load_mixer
from models.scale import ModelSize
from models.slots import SLOTS, published_source

from .conftest import TOY, swapped


def test_paired_models_share_the_host_and_leave_the_random_state_alone(size: ModelSize):
    before = torch.get_rng_state()
    one = build(load_mixer(TOY), size, 160, seed=3).state_dict()
    greedy = load_mixer(swapped("super().__init__()", "super().__init__(); torch.randn(1000)"))
    other = build(greedy, size, 160, seed=3).state_dict()
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.equal(one["blocks.0.mixer.query.weight"], other["blocks.0.mixer.query.weight"])
    for name in one:
        if ".mixer." not in name:
            assert torch.equal(one[name], other[name]), name


def test_seeds_give_different_models_and_one_seed_the_same(size: ModelSize):
    first, again, fresh = (build(load_mixer(TOY), size, 160, seed=seed) for seed in (0, 0, 1))
    tokens = torch.arange(20)[None]
    assert torch.equal(first(tokens), again(tokens))
    assert not torch.allclose(first(tokens), fresh(tokens))
    assert not torch.equal(first.embedding.weight, fresh.embedding.weight)


def test_hidden_states_times_head_are_the_logits(size: ModelSize):
    model = build(load_mixer(TOY), size, 160, seed=0)
    tokens = torch.randint(0, 256, (2, 9), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model.hidden(tokens) @ model.head.weight.T, model(tokens))


def test_layers_are_numbered_for_the_mixer(size: ModelSize):
    source = swapped("super().__init__()", "super().__init__(); self.register_buffer('layer', torch.tensor(layer_idx))")
    model = build(load_mixer(source), size, 160, seed=0)
    assert [int(block.mixer.layer) for block in model.blocks] == [0, 1]


def test_embedding_and_head_do_not_count_but_buffers_do(size: ModelSize):
    plain = non_embedding_parameters(build(load_mixer(TOY), size, 160, seed=0).state_dict())
    larger = dataclasses.replace(size, vocab_size=512)
    assert non_embedding_parameters(build(load_mixer(TOY), larger, 160, seed=0).state_dict()) == plain
    hoard = load_mixer(swapped("super().__init__()", "super().__init__(); self.register_buffer('b', torch.ones(50))"))
    assert non_embedding_parameters(build(hoard, size, 160, seed=0).state_dict()) == plain + 2 * 50


@pytest.mark.parametrize("extra", [0, 700, 4096])
def test_a_heavier_mixer_gets_a_narrower_feed_forward(size: ModelSize, extra: int):
    target = non_embedding_parameters(build(load_mixer(TOY), size, 160, seed=0).state_dict())
    if extra:
        mixer = load_mixer(
            swapped("super().__init__()", f"super().__init__(); self.b = nn.Parameter(torch.ones({extra}))")
        )
    else:
        mixer = load_mixer(TOY)
    width = fit_ffn_width(mixer, size, target)
    assert width % 8 == 0
    assert (width < 160) == (extra >= 384)
    fitted = non_embedding_parameters(build(mixer, size, width, seed=0).state_dict())
    assert abs(fitted / target - 1) <= 0.02


def test_a_mixer_beyond_the_floor_is_refused_with_the_figure(size: ModelSize):
    target = non_embedding_parameters(build(load_mixer(TOY), size, 160, seed=0).state_dict())
    huge = load_mixer(swapped("super().__init__()", "super().__init__(); self.b = nn.Parameter(torch.ones(20000))"))
    with pytest.raises(CannotFit, match=r"width 40 \(floor 40\)") as caught:
        fit_ffn_width(huge, size, target)
    assert caught.value.figure > 0.02


@pytest.mark.parametrize("name", SLOTS["token_mixer"].baselines)
def test_every_baseline_fits_the_reference_budget(size: ModelSize, name: str):
    target = reference_parameters(size, "token_mixer")
    width = fit_ffn_width(load_mixer(published_source("token_mixer", name)), size, target)
    assert (width == size.ffn_width) or name != SLOTS["token_mixer"].reference
