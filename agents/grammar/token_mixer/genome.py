"""The genome: one linear-attention design as a record of enums, flags and tap counts.

Every field has a finite domain (`DOMAINS`); which combinations make sense is the rules' business.

Legend: K key dim per head, V value dim per head.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from agents.grammar.genes import FLAG, Domains, require_domains


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

    Raises ValueError when a field is outside its domain; combinations are the rules' business.
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
        require_domains(self, DOMAINS)

    @property
    def paths(self) -> tuple[str, ...]:
        """Names of the causal paths in the order in which they are fused; the memory is always there, last."""
        present = (("direct", self.direct), ("short", self.short_taps > 0), ("long", self.long_taps > 0))
        return (*(name for name, there in present if there), "memory")


DOMAINS: Domains = {
    "heads": tuple(Width),
    "key_width": tuple(Width),
    "value_width": (Width.same, Width.double),
    "shared_keys": FLAG,
    "token_shift": FLAG,
    "conv_on": tuple(ConvOn),
    "conv_taps": (2, 3, 4),
    "conv_silu": FLAG,
    "value_silu": FLAG,
    "feature_map": tuple(FeatureMap),
    "qk_norm": tuple(QKNorm),
    "rotary": FLAG,
    "write": tuple(Write),
    "write_gate": tuple(WriteGate),
    "decay": tuple(Decay),
    "decay_form": tuple(DecayForm),
    "normalise": FLAG,
    "short_taps": (0, 3, 5, 7),
    "long_taps": (0, 31, 47, 63),
    "direct": FLAG,
    "fusion": tuple(Fusion),
    "fusion_logits": tuple(Logits),
    "temperature": FLAG,
    "floor": tuple(Floor),
    "residual": FLAG,
    "output_norm": tuple(OutputNorm),
    "norm_at": tuple(NormAt),
    "output_gate": tuple(OutputGate),
}
