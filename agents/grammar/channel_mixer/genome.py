"""The genome: one feed-forward design as a record of enums and flags.

Every field has a finite domain (`DOMAINS`); which combinations make sense is the rules' business.

Legend: D model width, W inner width.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from agents.grammar.genes import FLAG, Domains, require_domains


class Activation(StrEnum):
    """What inner channels or gates pass through; relu2 is the squared relu."""

    identity = "identity"
    sigmoid = "sigmoid"
    relu = "relu"
    relu2 = "relu2"
    silu = "silu"
    gelu = "gelu"


class Gate(StrEnum):
    """What multiplies the inner channels.

    Full has a matrix of its own, low_rank two thin ones, heads one number for each of eight groups of channels.
    """

    none = "none"
    full = "full"
    low_rank = "low_rank"
    heads = "heads"


class Bottleneck(StrEnum):
    """Which map goes through half of D: the one into the inner channels, or the one out of them."""

    none = "none"
    up = "up"
    down = "down"


class Output(StrEnum):
    """What multiplies each output channel: a learned number, or a sigmoid of the same input channel."""

    none = "none"
    scale = "scale"
    gate = "gate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Genome:
    """One design. The defaults are the neutral values that dormant fields take.

    Raises ValueError when a field is outside its domain; combinations are the rules' business.
    """

    activation: Activation = Activation.identity
    gate: Gate = Gate.none
    gate_activation: Activation = Activation.sigmoid
    shift: bool = False  # learned shifts before the activations
    inner_norm: bool = False  # RMS norm over W before the way out
    bottleneck: Bottleneck = Bottleneck.none
    skip: bool = False  # a learned share of each input channel around everything
    output: Output = Output.none

    def __post_init__(self) -> None:
        require_domains(self, DOMAINS)


DOMAINS: Domains = {
    "activation": (Activation.identity, Activation.relu, Activation.relu2, Activation.silu, Activation.gelu),
    "gate": tuple(Gate),
    "gate_activation": (*(Activation.identity, Activation.sigmoid, Activation.relu, Activation.silu, Activation.gelu),),
    "shift": FLAG,
    "inner_norm": FLAG,
    "bottleneck": tuple(Bottleneck),
    "skip": FLAG,
    "output": tuple(Output),
}
