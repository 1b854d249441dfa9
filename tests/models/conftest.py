"""A small honest mixer and its dishonest relatives."""

from __future__ import annotations

import pytest
import torch

from models.backbone import build, non_embedding_parameters, reference_parameters
from models.loading import load_mixer
from models.properties import Examination, examine
from models.scale import ModelSize

TOY = '''
import torch
from torch import nn
import torch.nn.functional as F


class TokenMixer(nn.Module):
    """Gated running average of values."""

    def __init__(self, hidden_size, num_heads, layer_idx=0, **kwargs):
        super().__init__()
        self.query = nn.Linear(hidden_size, hidden_size, bias=False)
        self.value = nn.Linear(hidden_size, hidden_size, bias=False)
        self.taps = nn.Parameter(torch.randn(hidden_size, 1, 4) * 0.2)
        self.out = nn.Linear(hidden_size, hidden_size, bias=False)
        self.gain = nn.Parameter(torch.zeros(hidden_size))

    def forward(self, x):
        value = F.conv1d(F.pad(self.value(x).mT, (3, 0)), self.taps, groups=x.shape[-1]).mT
        count = torch.arange(1, x.shape[1] + 1, dtype=x.dtype).view(1, -1, 1)
        mean = value.cumsum(1) / count
        return self.out(torch.sigmoid(self.query(x)) * (value + self.gain * mean))

    def state_bytes(self):
        return 4 * 4 * self.gain.numel()
'''


CHANNEL_TOY = '''
import torch
from torch import nn
import torch.nn.functional as F


class ChannelMixer(nn.Module):
    """A gated layer with a norm, a gain and shifts."""

    def __init__(self, hidden_size, width, layer_idx=0, **kwargs):
        super().__init__()
        self.up = nn.Linear(hidden_size, width)
        self.gate = nn.Linear(hidden_size, width, bias=False)
        self.norm = nn.RMSNorm(width)
        self.down = nn.Linear(width, hidden_size, bias=False)
        self.gain = nn.Parameter(torch.zeros(hidden_size))

    def forward(self, x):
        h = self.norm(self.up(x) * F.silu(self.gate(x)))
        return self.gain * x + self.down(h)
'''


def swapped(old: str, new: str) -> str:
    """The toy's source with one piece replaced; the piece has to be there."""
    assert old in TOY
    return TOY.replace(old, new)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def size() -> ModelSize:
    return ModelSize(num_layers=2, hidden_size=32, num_heads=2, ffn_width=160, vocab_size=256)


def gate(source: str, size: ModelSize, *, thorough: bool = False) -> Examination:
    """The examination of a mixer against the toy's own budget."""
    target = non_embedding_parameters(build(load_mixer(TOY), size, size.ffn_width, seed=0).state_dict())
    return examine(source, "token_mixer", size, target, length=64, thorough=thorough)


def channel_gate(old: str, new: str, size: ModelSize, *, thorough: bool = False) -> Examination:
    """The examination of the channel toy, one piece replaced, against the slot's own budget."""
    assert old in CHANNEL_TOY
    target = reference_parameters(size, "channel_mixer")
    source = CHANNEL_TOY.replace(old, new)
    return examine(source, "channel_mixer", size, target, length=64, thorough=thorough)


def failures(examination: Examination) -> dict[str, str]:
    return {item.name: item.detail for item in examination.properties if not item.passed}
