"""The fixed host: a pre-norm language model whose token mixer is the candidate, matched in parameters.

Shapes: B batch, T time, D model width, V vocabulary.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any, Protocol

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from models.loading import load_mixer
from models.scale import ModelSize
from models.slots import baseline_source, slot_named

MATCH_TOLERANCE = 0.02  # relative, on non-embedding parameters
_WIDTH_STEP = 8
_EMBEDDING_KEYS = ("embedding.weight", "head.weight")


class CannotFit(ValueError):
    """No feed-forward width brings a mixer to the parameter budget; `figure` is the nearest relative difference."""

    def __init__(self, message: str, figure: float) -> None:
        super().__init__(message)
        self.figure = figure


class HasShape(Protocol):
    """What counting needs of a tensor or an array."""

    @property
    def shape(self) -> Any: ...


class FeedForward(nn.Module):
    """SwiGLU (Shazeer 2020, arXiv 2002.05202): down(silu(gate x) * up x)."""

    def __init__(self, hidden_size: int, width: int) -> None:
        super().__init__()
        # Apart: backward through one joint matrix spends 7% of a small model's step on concatenation.
        self.gate = nn.Linear(hidden_size, width, bias=False)
        self.up = nn.Linear(hidden_size, width, bias=False)
        self.down = nn.Linear(width, hidden_size, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        out_BTD: Tensor = self.down(F.silu(self.gate(x_BTD)) * self.up(x_BTD))
        return out_BTD


class Block(nn.Module):
    """x + mixer(norm(x)), then x + ffn(norm(x))."""

    def __init__(self, size: ModelSize, mixer: nn.Module, ffn_width: int) -> None:
        super().__init__()
        self.mixer_norm = nn.RMSNorm(size.hidden_size, eps=1e-6)
        self.mixer = mixer
        self.ffn_norm = nn.RMSNorm(size.hidden_size, eps=1e-6)
        self.ffn = FeedForward(size.hidden_size, ffn_width)

    def forward(self, x_BTD: Tensor) -> Tensor:
        x_BTD = x_BTD + self.mixer(self.mixer_norm(x_BTD))
        out_BTD: Tensor = x_BTD + self.ffn(self.ffn_norm(x_BTD))
        return out_BTD


class LanguageModel(nn.Module):
    """Embedding, blocks, final norm, untied head. Positions are the mixer's business."""

    def __init__(self, size: ModelSize, mixer_class: type[nn.Module], ffn_width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(size.vocab_size, size.hidden_size)
        self.blocks = nn.ModuleList(
            Block(size, mixer_class(size.hidden_size, size.num_heads, layer_idx=layer), ffn_width)
            for layer in range(size.num_layers)
        )
        self.norm = nn.RMSNorm(size.hidden_size, eps=1e-6)
        self.head = nn.Linear(size.hidden_size, size.vocab_size, bias=False)

    def hidden(self, tokens_BT: Tensor) -> Tensor:
        """h_BTD after the final norm: what the sealed evaluation multiplies with the head."""
        x_BTD = self.embedding(tokens_BT)
        for block in self.blocks:
            x_BTD = block(x_BTD)
        normed_BTD: Tensor = self.norm(x_BTD)
        return normed_BTD

    def forward(self, tokens_BT: Tensor) -> Tensor:
        logits_BTV: Tensor = self.head(self.hidden(tokens_BT))
        return logits_BTV


def build(mixer_class: type[nn.Module], size: ModelSize, ffn_width: int, seed: int) -> LanguageModel:
    """A model initialised from `seed`.

    The host's own weights depend on seed, name and shape alone, so that paired trials of different mixers start from
    the same embedding and head. The mixers initialise themselves under torch's seeded generator; what they draw from
    `random` or numpy is not reproducible. The caller's random state is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LanguageModel(size, mixer_class, ffn_width)
    _initialise_host(model, seed)
    return model


def non_embedding_parameters(state: Mapping[str, HasShape]) -> int:
    """Elements in a state dict without embedding and head; buffers count, since a mixer could keep weights there."""
    return sum(math.prod(value.shape) for name, value in state.items() if name not in _EMBEDDING_KEYS)


def reference_parameters(size: ModelSize, slot: str) -> int:
    """The budget: non-embedding parameters of the slot's reference baseline at `size.ffn_width`."""
    chosen = slot_named(slot)
    mixer_class = load_mixer(baseline_source(slot, chosen.reference), chosen.entry)
    return _count(mixer_class, size, size.ffn_width)


def fit_ffn_width(mixer_class: type[nn.Module], size: ModelSize, target_parameters: int) -> int:
    """The feed-forward width, in steps of 8, that brings the mixer nearest to `target_parameters`.

    Widths go down to a quarter of `size.ffn_width` (at least 8): below that the host would no longer be the same host.

    Raises:
        CannotFit: the nearest width allowed is more than 2% off.
    """
    floor = max(_WIDTH_STEP, math.ceil(size.ffn_width / 4 / _WIDTH_STEP) * _WIDTH_STEP)
    at_floor = _count(mixer_class, size, floor)
    per_step = size.num_layers * 3 * size.hidden_size * _WIDTH_STEP
    width = floor + max(0, round((target_parameters - at_floor) / per_step)) * _WIDTH_STEP
    parameters = at_floor + (width - floor) // _WIDTH_STEP * per_step
    difference = parameters / target_parameters - 1
    if abs(difference) > MATCH_TOLERANCE:
        raise CannotFit(
            f"with feed-forward width {width} (floor {floor}) the model has {parameters} non-embedding parameters, "
            f"{difference:+.1%} of the budget {target_parameters}; limit {MATCH_TOLERANCE:.0%}: "
            "give the mixer fewer parameters",
            difference,
        )
    return width


def _count(mixer_class: type[nn.Module], size: ModelSize, ffn_width: int) -> int:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return non_embedding_parameters(LanguageModel(size, mixer_class, ffn_width).state_dict())


@torch.no_grad()
def _initialise_host(model: LanguageModel, seed: int) -> None:
    for name, parameter in model.named_parameters():
        if ".mixer." in name or parameter.dim() < 2:
            continue
        key = hashlib.sha256(f"{seed}/{name}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(key[:7], "big"))
        scale = 1.0 if name == "embedding.weight" else parameter.shape[1] ** -0.5
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
