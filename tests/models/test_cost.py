from __future__ import annotations

import pytest
import torch
from torch import nn

from models.backbone import build
from models.cost import decode_state_bytes, flops_per_token, growth_exponent
from models.loading import load_mixer
from models.scale import ModelSize

from .conftest import TOY

LENGTHS = (128, 256, 512, 1024)


def test_flops_are_those_counted_by_hand(size: ModelSize):
    D, W, taps = 32, 160, 4
    mixer = 3 * D * D + taps * D
    by_hand = 2 * (size.num_layers * (mixer + 3 * D * W) + D * size.vocab_size)
    # Padding by three lets the convolution run over the same number of outputs.
    assert flops_per_token(build(load_mixer(TOY), size, 160, seed=0), 64) == pytest.approx(by_hand)


class Attention(nn.Module):
    def forward(self, x):
        return torch.softmax(x @ x.mT, -1).tril() @ x


class PairwiseWithoutProducts(nn.Module):
    """Quadratic work that FLOP counting does not see."""

    def forward(self, x):
        return (x[:, :, None] - x[:, None]).abs().mean(2)


def test_linear_work_grows_linearly():
    mixer = load_mixer(TOY)(16, 2)
    assert growth_exponent(mixer, 16, LENGTHS) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("mixer", [Attention(), PairwiseWithoutProducts()])
def test_quadratic_work_is_seen(mixer: nn.Module):
    assert growth_exponent(mixer, 8, LENGTHS) > 1.8


def test_state_bytes_are_the_mixers_own_statement():
    assert decode_state_bytes(load_mixer(TOY)(16, 2)) == 256
    assert decode_state_bytes(nn.Identity()) is None


@pytest.mark.parametrize("answer", [-1, 2.5, "much", True])
def test_odd_state_bytes_are_refused(answer: object):
    mixer = nn.Identity()
    mixer.state_bytes = lambda: answer
    with pytest.raises(ValueError, match="state_bytes"):
        decode_state_bytes(mixer)
