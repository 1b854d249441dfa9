"""The slots that a campaign can search: entry class, checks, reference and baselines.

No torch: Ray workers import this. docs/slots.md tells what a third slot takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from models.scale import ModelSize

_FOLDER = Path(__file__).resolve().parent
TOKEN_MIXER, CHANNEL_MIXER = "token_mixer", "channel_mixer"

# Properties of the gate (models.properties), in the order in which a slot's candidates meet them.
_BASICS = ("contract", "shape", "dtype", "finite", "gradients")
_REPETITION = ("determinism", "state")


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A place in the host model that candidates fill."""

    name: str
    entry: str  # class that a candidate's module has to define
    reference: str  # baseline that sets the parameter budget
    baselines: tuple[str, ...]
    folder: str  # under models/: where the baselines' sources are
    discoveries: tuple[str, ...] = ()  # published results of a search, under models/discoveries
    ceilings: tuple[str, ...] = ()  # beside the baselines; to compare with, though their cost keeps them out
    properties: tuple[str, ...]  # what the gate executes on every candidate
    offered: tuple[str, ...] = ()  # what it executes where the candidate offers it
    cost_exponent: float  # a training pass has to grow more slowly than this power of T
    takes_width: bool = False  # built with the inner width, which the parameter match adjusts; else with num_heads
    token_mixer: str | None = None  # the host's own, where candidates are not

    def __post_init__(self) -> None:
        if self.reference not in self.baselines:
            raise ValueError(
                f"slot {self.name}: reference {self.reference!r} is none of its baselines {self.baselines}"
            )
        if self.takes_width == (self.token_mixer is None):
            raise ValueError(
                f"slot {self.name}: takes_width is {self.takes_width}, token_mixer {self.token_mixer!r}; a candidate "
                "in the feed-forward's place takes its width and needs a token mixer beside it, another one neither"
            )

    @property
    def published(self) -> tuple[str, ...]:
        """Everything that can be named: ceilings, baselines, discoveries."""
        return (*self.ceilings, *self.baselines, *self.discoveries)

    def candidate_layers(self, size: ModelSize) -> tuple[int, ...]:
        """Layers of such a host that a candidate fills: all, less those whose token mixer is softmax attention."""
        taken = size.softmax_layers if self.token_mixer is None else ()
        return tuple(layer for layer in range(size.num_layers) if layer not in taken)


SLOTS: dict[str, Slot] = {
    TOKEN_MIXER: Slot(
        name=TOKEN_MIXER,
        entry="TokenMixer",
        reference="delta_net",
        baselines=(
            *("linear_attention", "retnet", "gla", "mamba2", "delta_net", "gated_delta_net", "kimi_delta_attention"),
            "rwkv7",
        ),
        folder="baselines",
        discoveries=(
            *("path_gate_fusion_net", "content_sharp_router", "fusion_gated_fir_net", "hier_gate_net"),
            "ada_multi_path_gate_net",
        ),
        ceilings=("softmax_attention",),
        properties=(
            *(*_BASICS, "causality", "batch_independence", "prefix_consistency"),
            *("cost", *_REPETITION),
        ),
        offered=("decode",),
        cost_exponent=1.35,  # T log T stays below 1.2; attention over all positions is at 1.5 and above
    ),
    CHANNEL_MIXER: Slot(
        name=CHANNEL_MIXER,
        entry="ChannelMixer",
        reference="swiglu",
        baselines=("gelu_mlp", "relu2_mlp", "reglu", "geglu", "swiglu"),
        folder="channel_mixers",
        properties=(*_BASICS, "position_independence", "cost", *_REPETITION),
        cost_exponent=1.3,  # linear, where peak memory may be seen a fifth off
        takes_width=True,
        token_mixer="gated_delta_net",
    ),
}


def slot_named(name: str) -> Slot:
    """The slot of that name; ValueError names those that exist."""
    if name not in SLOTS:
        raise ValueError(f"no slot named {name!r}; there are {', '.join(SLOTS)}")
    return SLOTS[name]


@cache  # confined children cannot read it any more
def published_source(slot: str, name: str) -> str:
    """Source text of what a slot has by name; baselines and discoveries are valid candidates by themselves."""
    chosen = slot_named(slot)
    if name not in chosen.published:
        raise ValueError(f"slot {slot} has nothing published as {name!r}; it has {', '.join(chosen.published)}")
    folder = "discoveries" if name in chosen.discoveries else chosen.folder
    return (_FOLDER / folder / f"{name}.py").read_text(encoding="utf-8")


def contract_text(slot: str) -> str:
    """What a candidate for the slot has to keep to, in Markdown, as researchers read it."""
    return (_FOLDER / "contracts" / f"{slot_named(slot).name}.md").read_text(encoding="utf-8")
