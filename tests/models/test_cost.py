from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from models.backbone import build
from models.cost import count, count_flops, decode_state_bytes, exponent, flops_per_token, tensor_bytes
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


class Kept(nn.Module):
    """Linear work a step, and everything of all steps kept for the backward pass."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8))

    def forward(self, x):
        out = x
        for _ in range(x.shape[1] // 16):
            out = torch.sigmoid(out * self.weight)
        return out


def growth(mixer: nn.Module, hidden_size: int, what: str) -> float:
    return exponent(LENGTHS, [getattr(count(mixer, hidden_size, length), what) for length in LENGTHS])


def test_linear_work_grows_linearly():
    mixer = load_mixer(TOY)(16, 2)
    for what in ("flops", "elements", "peak_bytes"):
        assert growth(mixer, 16, what) == pytest.approx(1.0, abs=0.05), what


@pytest.mark.parametrize(
    ("mixer", "what"),
    [
        (Attention(), "flops"),
        (Attention(), "elements"),
        (Attention(), "peak_bytes"),
        (PairwiseWithoutProducts(), "elements"),
        (PairwiseWithoutProducts(), "peak_bytes"),
        (Kept(), "peak_bytes"),
    ],
)
def test_quadratic_growth_is_seen(mixer: nn.Module, what: str):
    assert growth(mixer, 8, what) > 1.7


def test_peak_bytes_are_those_live_at_once():
    class Passing(nn.Module):
        def forward(self, x):
            with torch.no_grad():
                for _ in range(10):
                    x = x + 1
            return x

    one = 128 * 16 * 4
    assert count(Passing(), 16, 128).peak_bytes == 2 * one  # each result lives until the next one is there


def test_operators_are_counted():
    class Loop(nn.Module):
        def forward(self, x):
            return torch.stack([row + 1 for row in x.unbind(1)], 1)

    assert growth(Loop(), 4, "operators") == pytest.approx(1.0, abs=0.1)


def test_bytes_of_a_state_are_found_wherever_they_are():
    @dataclasses.dataclass
    class Record:
        held: torch.Tensor

    class Slotted:
        __slots__ = ("held",)

    kept, slotted = torch.zeros(10), Slotted()
    slotted.held = torch.zeros(3, dtype=torch.float64)
    state = {
        "a": (kept, [Record(torch.zeros(5))]),
        "b": kept,
        "c": slotted,
        "d": 7,
        "e": None,
        "f": torch.zeros(100)[:2],
    }
    assert tensor_bytes(state) == 4 * (10 + 5 + 2) + 8 * 3


def test_state_bytes_are_the_mixers_own_statement():
    assert decode_state_bytes(load_mixer(TOY)(16, 2)) == 256
    assert decode_state_bytes(nn.Identity()) is None


@pytest.mark.parametrize("answer", [-1, 2.5, "much", True])
def test_odd_state_bytes_are_refused(answer: object):
    mixer = nn.Identity()
    mixer.state_bytes = lambda: answer
    with pytest.raises(ValueError, match="state_bytes"):
        decode_state_bytes(mixer)


def test_attention_counts_on_a_cpu_as_well():
    q, k, v = (torch.randn(2, 3, length, width) for length, width in ((10, 4), (20, 4), (20, 6)))
    pairs = 2 * 3 * 10 * 20
    for grad in (False, True):
        q.requires_grad_(grad)
        assert count_flops(lambda: F.scaled_dot_product_attention(q, k, v)) == 2 * pairs * (4 + 6)


class Pooled(nn.Module):
    def forward(self, x):
        length = x.shape[1]
        return F.max_pool1d(F.pad(x.mT, (length - 1, 0)), length, 1).mT


class Unfolded(nn.Module):
    def forward(self, x):
        length = x.shape[1]
        return F.pad(x.mT, (length - 1, 0)).unfold(2, length, 1).sum(-1).mT


class InBackward(nn.Module):
    """Forward costs nothing; the work is done where gradients are made."""

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            return (x @ x.mT).tril() @ grad

    def forward(self, x):
        return self.Function.apply(x)


class Fused(nn.Module):
    """torch's fast path for a transformer layer: one operator."""

    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(16, 2, dim_feedforward=16, batch_first=True)

    def forward(self, x):
        mask = torch.full((x.shape[1], x.shape[1]), float("-inf")).triu(1)
        self.layer.eval()
        with torch.no_grad():
            return self.layer(x, src_mask=mask)


@pytest.mark.parametrize("mixer", [Pooled(), Unfolded(), InBackward(), Fused()], ids=lambda mixer: type(mixer).__name__)
def test_quadratic_work_shows_wherever_it_hides(mixer: nn.Module):
    counts = [count(mixer, 16, length) for length in LENGTHS]
    figures = [exponent(LENGTHS, [getattr(item, name) for item in counts]) for name in ("flops", "elements")]
    assert max(figures) > 1.35
