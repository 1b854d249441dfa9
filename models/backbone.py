"""The fixed host: a pre-norm language model with candidates in one of its slots, matched in parameters.

What the slot leaves open is the host's own: SwiGLU feed-forwards around a candidate token mixer, the slot's
`token_mixer` around a candidate channel mixer. In hybrid stacks (`ModelSize.softmax_every`) softmax attention takes the
token mixer's place in some layers, whichever slot is searched.

Shapes: B batch, T time, D model width, V vocabulary.
"""

from __future__ import annotations

import hashlib
import importlib
import math
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from models.blocks import Block, FeedForward
from models.loading import load_mixer
from models.scale import ModelSize
from models.slots import SLOTS, TOKEN_MIXER, Slot, published_source, slot_named

MATCH_TOLERANCE = 0.02  # relative, on non-embedding parameters
_WIDTH_STEP = 8
_WIDEST = 16  # times the reference's width: no candidate is built wider
_MOST_BUILDS = 8  # when looking for a width; two are enough where parameters are linear in it
_SOFTMAX = "softmax_attention"
_EMBEDDING_KEYS = ("embedding.weight", "head.weight")


class CannotFit(ValueError):
    """No width brings a candidate to the parameter budget; `figure` is the nearest relative difference."""

    def __init__(self, message: str, figure: float) -> None:
        super().__init__(message)
        self.figure = figure


class HasShape(Protocol):
    """What counting needs of a tensor or an array."""

    @property
    def shape(self) -> Any: ...


class LanguageModel(nn.Module):
    """Embedding, blocks, final norm, untied head. Positions are the mixers' business.

    Candidates draw their weights from torch's generator as it stands; the host's token mixers, where it has some, draw
    theirs from `seed` and the layer alone, so that they are the same around every candidate.

    Raises:
        ValueError: every layer is softmax attention, so that no candidate token mixer is left.
    """

    def __init__(
        self, size: ModelSize, candidate: type[nn.Module], ffn_width: int, slot: str = TOKEN_MIXER, seed: int = 0
    ) -> None:
        super().__init__()
        chosen = slot_named(slot)
        require_candidates(chosen, size)
        self.embedding = nn.Embedding(size.vocab_size, size.hidden_size)
        self.blocks = nn.ModuleList(
            _block(chosen, size, candidate, ffn_width, layer, seed) for layer in range(size.num_layers)
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


def require_candidates(slot: Slot, size: ModelSize) -> None:
    """Some layer is the candidate's. Raises ValueError."""
    if not slot.candidate_layers(size):
        raise ValueError(
            f"size.softmax_every is {size.softmax_every} with {size.num_layers} layers: no layer is left to a "
            "candidate token mixer; raise it, or 0 for none"
        )


def candidate_layer(slot: Slot, candidate: type[nn.Module], size: ModelSize, ffn_width: int, layer: int) -> nn.Module:
    """The candidate's module of a layer, built as its slot's contract says."""
    second = ffn_width if slot.takes_width else size.num_heads
    return candidate(size.hidden_size, second, layer_idx=layer)


@cache
def host_mixer(name: str) -> type[nn.Module]:
    """A token mixer that is the host's own, by its baseline's name; trusted code, so it is imported as it is."""
    module = importlib.import_module(f"models.baselines.{name}")
    found: type[nn.Module] = module.TokenMixer
    return found


def host_mixer_names() -> tuple[str, ...]:
    """Baselines that hosts may be built with, for those who have to import them beforehand."""
    return tuple(sorted({_SOFTMAX, *(slot.token_mixer for slot in SLOTS.values() if slot.token_mixer)}))


def build(
    candidate: type[nn.Module], size: ModelSize, ffn_width: int, seed: int, slot: str = TOKEN_MIXER
) -> LanguageModel:
    """A model initialised from `seed`.

    The host's own weights depend on seed, name and shape alone, so that paired trials of different candidates start
    from the same host. The candidates initialise themselves under torch's seeded generator; what they draw from
    `random` or numpy is not reproducible. The caller's random state is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LanguageModel(size, candidate, ffn_width, slot, seed)
    _initialise_host(model, seed, (".mixer.", ".ffn.") if slot_named(slot).takes_width else (".mixer.",))
    return model


def non_embedding_parameters(state: Mapping[str, HasShape]) -> int:
    """Elements in a state dict without embedding and head; buffers count, since a mixer could keep weights there."""
    return sum(math.prod(value.shape) for name, value in state.items() if name not in _EMBEDDING_KEYS)


def reference_parameters(size: ModelSize, slot: str) -> int:
    """The budget: non-embedding parameters of the slot's reference baseline at `size.ffn_width`."""
    chosen = slot_named(slot)
    reference = load_mixer(published_source(slot, chosen.reference), chosen.entry)
    return _count(reference, size, slot, size.ffn_width)


def fit_ffn_width(candidate: type[nn.Module], size: ModelSize, target_parameters: int, slot: str = TOKEN_MIXER) -> int:
    """The feed-forward width, in steps of 8, that brings the model nearest to `target_parameters`.

    It is the host's width around a candidate token mixer, and a candidate channel mixer's own. Widths go down to a
    quarter of `size.ffn_width` (at least 8): below that the host would no longer be the same host. A channel mixer's
    width is searched for, since its parameters need not be linear in it.

    Raises:
        CannotFit: the nearest width found is more than 2% off.
    """
    floor = max(_WIDTH_STEP, math.ceil(size.ffn_width / 4 / _WIDTH_STEP) * _WIDTH_STEP)
    count = partial(_count, candidate, size, slot)
    if slot_named(slot).takes_width:
        width, parameters = _searched_width(count, floor, size.ffn_width, target_parameters)
        what, remedy = "width", "let the parameters follow `width`, from few at the floor"
    else:
        at_floor = count(floor)
        per_step = size.num_layers * 3 * size.hidden_size * _WIDTH_STEP
        width = floor + max(0, round((target_parameters - at_floor) / per_step)) * _WIDTH_STEP
        parameters = at_floor + (width - floor) // _WIDTH_STEP * per_step
        what, remedy = "feed-forward width", "give the mixer fewer parameters"
    difference = parameters / target_parameters - 1
    if abs(difference) > MATCH_TOLERANCE:
        raise CannotFit(
            f"with {what} {width} (floor {floor}) the model has {parameters} non-embedding parameters, "
            f"{difference:+.1%} of the budget {target_parameters}; limit {MATCH_TOLERANCE:.0%}: {remedy}",
            difference,
        )
    return width


def _searched_width(count: Callable[[int], int], floor: int, reference: int, target: int) -> tuple[int, int]:
    """Width and parameters nearest to the target, by secants from the floor and the reference's width."""
    before, after = floor, max(reference, floor + _WIDTH_STEP)
    seen = {width: count(width) for width in (before, after)}
    while len(seen) < _MOST_BUILDS:
        slope = (seen[after] - seen[before]) / (after - before)
        if slope <= 0:
            break
        steps = round((before - floor + (target - seen[before]) / slope) / _WIDTH_STEP)
        width = floor + max(0, min(steps * _WIDTH_STEP, _WIDEST * reference))
        if width in seen:
            break
        seen[width] = count(width)
        before, after = after, width
    nearest = min(seen, key=lambda width: abs(seen[width] - target))
    return nearest, seen[nearest]


def _count(candidate: type[nn.Module], size: ModelSize, slot: str, ffn_width: int) -> int:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return non_embedding_parameters(LanguageModel(size, candidate, ffn_width, slot).state_dict())


def _block(slot: Slot, size: ModelSize, candidate: type[nn.Module], ffn_width: int, layer: int, seed: int) -> Block:
    own = _SOFTMAX if layer in size.softmax_layers else slot.token_mixer
    build_candidate = partial(candidate_layer, slot, candidate, size, ffn_width, layer)
    mixer = build_candidate() if own is None else _own_mixer(own, size, layer, seed)
    ffn = build_candidate() if slot.takes_width else FeedForward(size.hidden_size, ffn_width)
    return Block(size.hidden_size, mixer, ffn)


def _own_mixer(name: str, size: ModelSize, layer: int, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_seed_of(f"{seed}/blocks.{layer}.mixer"))
        return host_mixer(name)(size.hidden_size, size.num_heads, layer_idx=layer)


@torch.no_grad()
def _initialise_host(model: LanguageModel, seed: int, left_alone: tuple[str, ...]) -> None:
    for name, parameter in model.named_parameters():
        if parameter.dim() < 2 or any(part in name for part in left_alone):
            continue
        generator = torch.Generator().manual_seed(_seed_of(f"{seed}/{name}"))
        scale = 1.0 if name == "embedding.weight" else parameter.shape[1] ** -0.5
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)


def _seed_of(key: str) -> int:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:7], "big")
