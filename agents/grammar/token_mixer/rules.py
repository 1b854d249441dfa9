"""The one place that knows which genes of a token mixer go together."""

from __future__ import annotations

from collections.abc import Callable

from agents.grammar.rules import Rule, asleep, canonical_by
from agents.grammar.token_mixer.genome import (
    ConvOn,
    Decay,
    FeatureMap,
    Fusion,
    Genome,
    Logits,
    NormAt,
    OutputNorm,
    QKNorm,
    Width,
    Write,
    WriteGate,
)

POSITIVE_MAPS = (FeatureMap.elu1, FeatureMap.relu, FeatureMap.relu2, FeatureMap.softmax)
TOKEN_DECAYS = (Decay.scalar, Decay.channel)
TWO_STAGE = (Fusion.local_global, Fusion.direct_context)
_NEUTRAL = Genome()


def _asleep(why: str, applies: Callable[[Genome], bool], *names: str) -> Rule[Genome]:
    return asleep(_NEUTRAL, why, applies, *names)


def _norm_acts_on_memory(g: Genome) -> bool:
    return g.output_norm is not OutputNorm.none and (len(g.paths) == 1 or g.norm_at is NormAt.memory)


# In order: a later rule sees what earlier ones settled.
RULES: tuple[Rule[Genome], ...] = (
    Rule(
        why="keys and values of double width leave the host no feed-forward at equal parameters",
        applies=lambda g: g.key_width is Width.double and g.value_width is Width.double,
        values={"value_width": Width.same},
    ),
    _asleep("nothing is convolved", lambda g: g.conv_on is ConvOn.none, "conv_taps", "conv_silu"),
    Rule(
        why="queries and keys are already silu'd by the convolution",
        applies=lambda g: g.conv_on in (ConvOn.qk, ConvOn.qkv) and g.conv_silu and g.feature_map is FeatureMap.silu,
        values={"feature_map": FeatureMap.identity},
    ),
    Rule(
        why="a linear convolution of values alone, then silu, is the convolution with silu",
        applies=lambda g: g.conv_on is ConvOn.v and g.value_silu,
        values={"conv_silu": True},
    ),
    Rule(
        why="so it is for queries and keys",
        applies=lambda g: g.conv_on is ConvOn.qk and g.feature_map is FeatureMap.silu,
        values={"conv_silu": True, "feature_map": FeatureMap.identity},
    ),
    Rule(
        why="and for all three",
        applies=lambda g: g.conv_on is ConvOn.qkv and g.feature_map is FeatureMap.silu and g.value_silu,
        values={"conv_silu": True, "feature_map": FeatureMap.identity},
    ),
    Rule(
        why="values are already silu'd by the convolution",
        applies=lambda g: "v" in g.conv_on and g.conv_silu,
        values={"value_silu": False},
        dormant=True,
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
        why="the delta rule writes with one strength per head, which a decay per channel does not give",
        applies=lambda g: g.write is Write.delta and g.decay is Decay.channel and g.write_gate is WriteGate.tied,
        values={"write_gate": WriteGate.token},
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
    """The valid, non-redundant design that stands for this one."""
    return canonical_by(RULES, genome)
