"""The genome: one linear-attention design as a record of enums, flags and tap counts.

Every field has a finite domain (`DOMAINS`). `canonical` is the one place that knows which combinations make sense: it
maps any record to the valid, non-redundant one that stands for it, so mutation and crossover may set fields blindly.

Legend: B batch, T time, H heads, K key dim per head, V value dim per head, D model width.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any

Gene = StrEnum | int | bool


class Width(StrEnum):
    """A multiple of the host's figure: its number of heads, or its width."""

    half = "half"
    same = "same"
    double = "double"


class ConvOn(StrEnum):
    """Which projections pass through a short causal convolution."""

    none = "none"
    q = "q"
    k = "k"
    v = "v"
    qk = "qk"
    qv = "qv"
    kv = "kv"
    qkv = "qkv"


class FeatureMap(StrEnum):
    """What queries and keys pass through; elu1 is elu + 1, relu2 the squared relu."""

    identity = "identity"
    elu1 = "elu1"
    relu = "relu"
    relu2 = "relu2"
    silu = "silu"
    softmax = "softmax"


class QKNorm(StrEnum):
    """Normalisation of queries and keys over K."""

    none = "none"
    l2 = "l2"
    rms = "rms"


class Write(StrEnum):
    """How a key-value pair enters the state."""

    additive = "additive"
    delta = "delta"


class WriteGate(StrEnum):
    """Write strength: per token, one learned number per head, or tied to the decay (1 - decay)."""

    none = "none"
    token = "token"
    head = "head"
    tied = "tied"


class Decay(StrEnum):
    """How the state forgets; scalar and channel depend on the token, per head and per key channel."""

    none = "none"
    fixed = "fixed"
    learned = "learned"
    scalar = "scalar"
    channel = "channel"


class DecayForm(StrEnum):
    """Log decay of a token: -rate * softplus (Mamba-2, Gated DeltaNet) or logsigmoid / 16 (GLA)."""

    softplus = "softplus"
    sigmoid = "sigmoid"


class Fusion(StrEnum):
    """How several paths become one; the last two share out in two stages."""

    none = "none"
    sum = "sum"
    softmax = "softmax"
    sigmoid = "sigmoid"
    local_global = "local_global"
    direct_context = "direct_context"


class Logits(StrEnum):
    """What the fusion gate reads: the token, nothing (learned per head), both, or the token and path statistics."""

    token = "token"
    head = "head"
    layered = "layered"
    stats = "stats"


class Floor(StrEnum):
    """The least share of every path: none, 2%, 5%, or learned and token-dependent up to 10% together."""

    none = "none"
    small = "small"
    large = "large"
    learned = "learned"


class OutputNorm(StrEnum):
    """Normalisation per head over V."""

    none = "none"
    rms = "rms"
    layer = "layer"


class NormAt(StrEnum):
    """Whether the norm acts on the memory's read-out alone or on the fused output."""

    output = "output"
    memory = "memory"


class OutputGate(StrEnum):
    """What multiplies the output before the last projection."""

    none = "none"
    sigmoid = "sigmoid"
    swish = "swish"
    head = "head"


@dataclass(frozen=True, slots=True, kw_only=True)
class Genome:
    """One design. The defaults are the neutral values that dormant fields take.

    Raises ValueError when a field is outside its domain; combinations are `canonical`'s business.
    """

    heads: Width = Width.same
    key_width: Width = Width.same
    value_width: Width = Width.same
    shared_keys: bool = False  # one query and key for all heads (multi-value, Mamba-2)
    token_shift: bool = False  # mix each token with the one before (RWKV)
    conv_on: ConvOn = ConvOn.none
    conv_taps: int = 4
    conv_silu: bool = True
    value_silu: bool = False
    feature_map: FeatureMap = FeatureMap.identity
    qk_norm: QKNorm = QKNorm.none
    rotary: bool = False
    write: Write = Write.additive
    write_gate: WriteGate = WriteGate.none
    decay: Decay = Decay.none
    decay_form: DecayForm = DecayForm.softplus
    normalise: bool = False  # divide by the sum of key weights
    short_taps: int = 0
    long_taps: int = 0
    direct: bool = False
    fusion: Fusion = Fusion.none
    fusion_logits: Logits = Logits.token
    temperature: bool = False
    floor: Floor = Floor.none
    residual: bool = False
    output_norm: OutputNorm = OutputNorm.none
    norm_at: NormAt = NormAt.output
    output_gate: OutputGate = OutputGate.none

    def __post_init__(self) -> None:
        for name, domain in DOMAINS.items():
            value = getattr(self, name)
            if not any(value == choice and type(value) is type(choice) for choice in domain):
                raise ValueError(f"Genome.{name} is {value!r}; choose one of {[text_of(choice) for choice in domain]}")

    @property
    def paths(self) -> tuple[str, ...]:
        """Names of the causal paths in the order in which they are fused; the memory is always there, last."""
        present = (("direct", self.direct), ("short", self.short_taps > 0), ("long", self.long_taps > 0))
        return (*(name for name, there in present if there), "memory")


_FLAG = (False, True)
DOMAINS: Mapping[str, tuple[Gene, ...]] = {
    "heads": tuple(Width),
    "key_width": tuple(Width),
    "value_width": (Width.same, Width.double),
    "shared_keys": _FLAG,
    "token_shift": _FLAG,
    "conv_on": tuple(ConvOn),
    "conv_taps": (2, 3, 4),
    "conv_silu": _FLAG,
    "value_silu": _FLAG,
    "feature_map": tuple(FeatureMap),
    "qk_norm": tuple(QKNorm),
    "rotary": _FLAG,
    "write": tuple(Write),
    "write_gate": tuple(WriteGate),
    "decay": tuple(Decay),
    "decay_form": tuple(DecayForm),
    "normalise": _FLAG,
    "short_taps": (0, 3, 5, 7),
    "long_taps": (0, 31, 47, 63),
    "direct": _FLAG,
    "fusion": tuple(Fusion),
    "fusion_logits": tuple(Logits),
    "temperature": _FLAG,
    "floor": tuple(Floor),
    "residual": _FLAG,
    "output_norm": tuple(OutputNorm),
    "norm_at": tuple(NormAt),
    "output_gate": tuple(OutputGate),
}

POSITIVE_MAPS = (FeatureMap.elu1, FeatureMap.relu, FeatureMap.relu2, FeatureMap.softmax)
TOKEN_DECAYS = (Decay.scalar, Decay.channel)
TWO_STAGE = (Fusion.local_global, Fusion.direct_context)
_NEUTRAL = Genome()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Where `applies` holds, the fields take these values; `dormant`: the fields do nothing there."""

    why: str
    applies: Callable[[Genome], bool]
    values: Mapping[str, Gene]
    dormant: bool = False


def _asleep(why: str, applies: Callable[[Genome], bool], *names: str) -> Rule:
    return Rule(why=why, applies=applies, values={name: getattr(_NEUTRAL, name) for name in names}, dormant=True)


def _norm_acts_on_memory(g: Genome) -> bool:
    return g.output_norm is not OutputNorm.none and (len(g.paths) == 1 or g.norm_at is NormAt.memory)


# In order: a later rule sees what earlier ones settled.
RULES: tuple[Rule, ...] = (
    Rule(
        why="the widest state is four times the reference's",
        applies=lambda g: (g.heads, g.key_width, g.value_width) == (Width.half, Width.double, Width.double),
        values={"heads": Width.same},
    ),
    _asleep("nothing is convolved", lambda g: g.conv_on is ConvOn.none, "conv_taps", "conv_silu"),
    Rule(
        why="queries and keys are already silu'd by the convolution",
        applies=lambda g: g.conv_on in (ConvOn.qk, ConvOn.qkv) and g.conv_silu and g.feature_map is FeatureMap.silu,
        values={"feature_map": FeatureMap.identity},
    ),
    Rule(
        why="values are already silu'd by the convolution",
        applies=lambda g: "v" in g.conv_on and g.conv_silu,
        values={"value_silu": False},
        dormant=True,
    ),
    Rule(
        why="the delta rule decays per head, not per channel",
        applies=lambda g: g.write is Write.delta and g.decay is Decay.channel,
        values={"decay": Decay.scalar},
    ),
    Rule(
        why="the delta rule is a contraction only for unit keys, and has no denominator",
        applies=lambda g: g.write is Write.delta,
        values={"qk_norm": QKNorm.l2, "normalise": False},
        dormant=True,
    ),
    _asleep("no decay that depends on the token", lambda g: g.decay not in TOKEN_DECAYS, "decay_form"),
    Rule(
        why="only a decay that depends on the token can be tied to the write",
        applies=lambda g: g.write_gate is WriteGate.tied and g.decay not in TOKEN_DECAYS,
        values={"write_gate": WriteGate.none},
    ),
    Rule(
        why="the delta rule needs a write strength",
        applies=lambda g: g.write is Write.delta and g.write_gate is WriteGate.none,
        values={"write_gate": WriteGate.token},
    ),
    Rule(
        why="an additive write scaled per head is the value projection over again",
        applies=lambda g: g.write is Write.additive and g.write_gate is WriteGate.head,
        values={"write_gate": WriteGate.none},
    ),
    _asleep("nothing to place", lambda g: g.output_norm is OutputNorm.none or len(g.paths) == 1, "norm_at"),
    _asleep(
        "a denominator needs positive weights and no decay, and is undone by a norm of the memory",
        lambda g: (
            g.decay is not Decay.none or g.feature_map not in POSITIVE_MAPS or g.rotary or _norm_acts_on_memory(g)
        ),
        "normalise",
    ),
    Rule(
        why="an additive state grows with T: it is divided, averaged or normalised",
        applies=lambda g: (
            g.write is Write.additive
            and g.output_norm is OutputNorm.none
            and g.write_gate is not WriteGate.tied
            and not g.normalise
        ),
        values={"output_norm": OutputNorm.rms},
    ),
    _asleep("a single path needs no fusion", lambda g: len(g.paths) == 1, "fusion"),
    Rule(
        why="several paths need a fusion",
        applies=lambda g: len(g.paths) > 1 and g.fusion is Fusion.none,
        values={"fusion": Fusion.softmax},
    ),
    Rule(
        why="two stages need three paths",
        applies=lambda g: g.fusion in TWO_STAGE and len(g.paths) < 3,
        values={"fusion": Fusion.softmax},
    ),
    Rule(
        why="direct against context needs a direct path",
        applies=lambda g: g.fusion is Fusion.direct_context and not g.direct,
        values={"fusion": Fusion.local_global},
    ),
    _asleep(
        "nothing is gated",
        lambda g: g.fusion in (Fusion.none, Fusion.sum),
        "fusion_logits",
        "temperature",
        "floor",
        "residual",
    ),
    _asleep(
        "only a softmax over what the token says has a temperature of its own",
        lambda g: g.fusion is Fusion.sigmoid or g.fusion_logits is Logits.head,
        "temperature",
    ),
)


def canonical(genome: Genome) -> Genome:
    """The valid, non-redundant design that stands for this one; every record has exactly one, and it is its own."""
    for rule in RULES:
        if rule.applies(genome):
            genome = replace(genome, **dict[str, Any](rule.values))
    return genome


def dormant_fields(genome: Genome) -> frozenset[str]:
    """Fields that do nothing in this (canonical) design."""
    return frozenset(name for rule in RULES if rule.dormant and rule.applies(genome) for name in rule.values)


def text_of(value: Gene) -> str:
    """A gene as it reads in `changes`: enum members by value, flags as true and false."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def changes_between(old: Genome, new: Genome) -> tuple[str, ...]:
    """What differs, as "field: old -> new"; fields that do nothing in the new design are left out."""
    asleep = dormant_fields(new)
    return tuple(
        f"{name}: {text_of(getattr(old, name))} -> {text_of(getattr(new, name))}"
        for name in DOMAINS
        if name not in asleep and getattr(old, name) != getattr(new, name)
    )


def to_json(genome: Genome) -> str:
    """One line of JSON, keys in the order of the fields."""
    return json.dumps(asdict(genome))


def from_json(text: str) -> Genome:
    """Read back what `to_json` wrote, made canonical. Raises ValueError for unknown fields and values."""
    stored: dict[str, Any] = json.loads(text)
    known = {field.name for field in fields(Genome)}
    if unknown := sorted(set(stored) - known):
        raise ValueError(f"genome has unknown fields {unknown}; known are {sorted(known)}")
    genes: dict[str, Any] = {}
    for name, value in stored.items():
        kind = type(DOMAINS[name][0])
        genes[name] = kind(value) if issubclass(kind, StrEnum) else value
    return canonical(Genome(**genes))
