"""The designs that the pairs start from: published mixers, grammar programs, layers in fla's style, and two by hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from agents.grammar.mutate import mutate, random_genome
from agents.grammar.spaces import SPACES
from agents.grammar.token_mixer.genome import Genome
from agents.grammar.token_mixer.known import KNOWN_GENOMES
from agents.grammar.token_mixer.space import TOKEN_MIXERS
from models.entry import with_entry
from models.slots import SLOTS, published_source

_FLA = Path(__file__).resolve().parents[1] / "models" / "fla_style"

CUMULATIVE = '''\
"""A running mean of values that a gate opens."""

import torch
from torch import nn


class TokenMixer(nn.Module):
    def __init__(self, hidden_size, num_heads, layer_idx=0, **kwargs):
        super().__init__()
        self.value = nn.Linear(hidden_size, hidden_size)
        self.key = nn.Linear(hidden_size, hidden_size)
        self.gate = nn.Linear(hidden_size, hidden_size)
        self.out = nn.Linear(hidden_size, hidden_size, bias=False)

    def forward(self, x):
        weight = torch.exp(torch.tanh(self.key(x)))
        total = (weight * self.value(x)).cumsum(1)
        mean = total / weight.cumsum(1)
        return self.out(torch.sigmoid(self.gate(x)) * mean)
'''

LEAKY = '''\
"""A leaky integrator per channel, computed in chunks."""

import torch
from torch import nn
import torch.nn.functional as F

CHUNK = 16


class TokenMixer(nn.Module):
    def __init__(self, hidden_size, num_heads, layer_idx=0, **kwargs):
        super().__init__()
        self.inner = nn.Linear(hidden_size, hidden_size, bias=False)
        self.gate = nn.Linear(hidden_size, hidden_size, bias=False)
        self.out = nn.Linear(hidden_size, hidden_size, bias=False)
        self.rate = nn.Parameter(torch.linspace(0.0, 3.0, hidden_size))

    def forward(self, x):
        u = self.inner(x)
        decay = torch.sigmoid(self.rate)
        state = torch.zeros_like(u[:, 0])
        outs = []
        for start in range(0, u.shape[1], CHUNK):
            for t in range(start, min(start + CHUNK, u.shape[1])):
                state = decay * state + (1 - decay) * u[:, t]
                outs.append(state)
        return self.out(F.silu(self.gate(x)) * torch.stack(outs, 1))
'''


def fla_style(name: str) -> str:
    """A layer of tests/models/fla_style under the entry's name."""
    return with_entry((_FLA / f"{name}.py").read_text(encoding="utf-8"))


def grammar_design(seed: int, slot: str = "token_mixer") -> str:
    """A random design of the grammar."""
    space = SPACES[slot]
    return space.render(random_genome(space, np.random.default_rng(seed)))


def grammar_mutant(seed: int) -> str:
    """That design with one gene changed."""
    return TOKEN_MIXERS.render(_mutant(seed))


def _mutant(seed: int) -> Genome:
    rng = np.random.default_rng(seed)
    return mutate(TOKEN_MIXERS, random_genome(TOKEN_MIXERS, rng), np.random.default_rng(seed + 1000))


def designs() -> Mapping[str, str]:
    """Every base design by name; channel mixers begin with "channel/"."""
    token, channel = SLOTS["token_mixer"], SLOTS["channel_mixer"]
    found = {name: published_source("token_mixer", name) for name in (*token.baselines, *token.discoveries)}
    found |= {f"channel/{name}": published_source("channel_mixer", name) for name in channel.baselines}
    found |= {f"grammar/{name}": TOKEN_MIXERS.render(KNOWN_GENOMES[name]) for name in ("hgrn2", "mamba2")}
    found |= {f"grammar/{seed}": grammar_design(seed) for seed in range(6)}
    found |= {"fla/gated_delta": fla_style("gated_delta"), "cumulative": CUMULATIVE, "leaky": LEAKY}
    return found
