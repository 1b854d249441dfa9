"""A readable name and a motivation for a genome: what it is called, and why its parts are there."""

from __future__ import annotations

import textwrap

from agents.grammar.token_mixer.genome import (
    ConvOn,
    Decay,
    DecayForm,
    FeatureMap,
    Floor,
    Fusion,
    Genome,
    Logits,
    NormAt,
    OutputGate,
    OutputNorm,
    QKNorm,
    Width,
    Write,
    WriteGate,
)
from agents.grammar.token_mixer.rules import TOKEN_DECAYS

_MEMORY_NAMES = {
    (Write.additive, Decay.none): "linear",
    (Write.additive, Decay.fixed): "retention",
    (Write.additive, Decay.learned): "learned-decay linear",
    (Write.additive, Decay.scalar): "gated linear",
    (Write.additive, Decay.channel): "channel-gated linear",
    (Write.delta, Decay.none): "delta",
    (Write.delta, Decay.fixed): "fixed-decay delta",
    (Write.delta, Decay.learned): "learned-decay delta",
    (Write.delta, Decay.scalar): "gated-delta",
    (Write.delta, Decay.channel): "channel-gated delta",
}

_FUSION_NAMES = {
    Fusion.sum: "sum",
    Fusion.softmax: "softmax fusion",
    Fusion.sigmoid: "sigmoid fusion",
    Fusion.local_global: "local/global fusion",
    Fusion.direct_context: "direct/context fusion",
}

_MEMORY_WHY = {
    Write.additive: "An additive memory accumulates key-value pairs in a state of constant size.",
    Write.delta: "A delta-rule memory replaces what a key pointed to instead of piling up on it.",
}

_DECAY_WHY = {
    Decay.none: "It never forgets.",
    Decay.fixed: "Fixed decays spread the heads over time scales.",
    Decay.learned: "Each head learns one retention factor.",
    Decay.scalar: "A decay that depends on the token lets each head clear its memory.",
    Decay.channel: "A decay per key channel that depends on the token forgets selectively.",
}

_FUSION_WHY = {
    Fusion.sum: "Paths are summed with one learned weight per head.",
    Fusion.softmax: "A softmax shares each head out over its paths.",
    Fusion.sigmoid: "Independent sigmoid gates let several paths be fully open at once.",
    Fusion.local_global: "Two stages share out: local against global, then within each group.",
    Fusion.direct_context: "Two stages share out: direct copy against context, then within the context.",
}

_STREAMS = {"q": "queries", "k": "keys", "v": "values"}


def path_words(genome: Genome) -> str:
    """The extra paths, short: "direct/fir3/fir31"."""
    names = {"direct": "direct", "short": f"fir{genome.short_taps}", "long": f"fir{genome.long_taps}"}
    return "/".join(names[path] for path in genome.paths[:-1])


def _memory_details(genome: Genome) -> list[str]:
    parts: list[str] = []
    if genome.feature_map is not FeatureMap.identity:
        parts.append(genome.feature_map.value)
    if genome.qk_norm is not QKNorm.none and genome.write is Write.additive:
        parts.append(genome.qk_norm.value)
    if genome.decay in TOKEN_DECAYS and genome.decay_form is DecayForm.sigmoid:
        parts.append("logsigmoid")
    if genome.write_gate in (WriteGate.head, WriteGate.tied):
        parts.append(f"{genome.write_gate.value} write")
    elif genome.write_gate is WriteGate.token and genome.write is Write.additive:
        parts.append("gated write")
    flags = (("normalised", genome.normalise), ("rope", genome.rotary), ("shared keys", genome.shared_keys))
    parts += [word for word, on in flags if on]
    widths = (("heads", genome.heads), ("keys", genome.key_width), ("values", genome.value_width))
    parts += [f"{width.value} {word}" for word, width in widths if width is not Width.same]
    return parts


def _fusion_details(genome: Genome) -> list[str]:
    parts: list[str] = []
    if genome.fusion_logits is not Logits.token:
        parts.append(genome.fusion_logits.value)
    if genome.temperature:
        parts.append("temperature")
    if genome.floor is not Floor.none:
        parts.append(f"{genome.floor.value} floor")
    if genome.residual:
        parts.append("residual")
    return parts


def name_of(genome: Genome) -> str:
    """A readable name: different canonical designs have different names."""
    details = _memory_details(genome)
    words = [_MEMORY_NAMES[genome.write, genome.decay] + (f" ({', '.join(details)})" if details else "")]
    front = ["token shift"] if genome.token_shift else []
    if genome.conv_on is not ConvOn.none:
        front.append(f"conv{genome.conv_taps}-{genome.conv_on.value}" + ("" if genome.conv_silu else " linear"))
    if genome.value_silu:
        front.append("silu values")
    if front:
        words.append(" ".join(front))
    if len(genome.paths) > 1:
        details = _fusion_details(genome)
        fusion = _FUSION_NAMES[genome.fusion] + (f" ({', '.join(details)})" if details else "")
        words.append(f"{path_words(genome)} {fusion}")
    back: list[str] = []
    if genome.output_norm is not OutputNorm.none:
        back.append(f"{genome.output_norm.value}{'-memory' if genome.norm_at is NormAt.memory else ''} norm")
    if genome.output_gate is not OutputGate.none:
        back.append(f"{genome.output_gate.value} gate")
    if back:
        words.append(" ".join(back))
    return " + ".join(words)


def motivation_of(genome: Genome) -> str:
    """Why the parts of the design are there, in a few sentences."""
    sentences = [_MEMORY_WHY[genome.write], _DECAY_WHY[genome.decay]]
    if genome.token_shift:
        sentences.append("Each token is mixed with the one before it.")
    if genome.conv_on is not ConvOn.none:
        seen = ", ".join(_STREAMS[stream] for stream in genome.conv_on)
        sentences.append(f"A convolution over {genome.conv_taps} steps lets {seen} see their neighbours.")
    if genome.short_taps or genome.long_taps:
        sentences.append("FIR filters, at first the identity, keep the exact local order that a recurrent state blurs.")
    if genome.direct:
        sentences.append("The direct path hands the current value on untouched.")
    if genome.fusion is not Fusion.none:
        sentences.append(_FUSION_WHY[genome.fusion])
    if genome.floor is not Floor.none:
        sentences.append("A floor keeps every path alive.")
    if genome.output_gate is not OutputGate.none:
        sentences.append("An output gate lets a head stay silent.")
    return " ".join(sentences)


def docstring_of(genome: Genome) -> str:
    """The module docstring of the rendered program, without quotes; it depends on the genome alone."""
    legend = "B batch, T time, H heads, K key dim, V value dim; x [B, T, D], q and k [B, T, H, K], paths [B, T, H, V]."
    name = textwrap.fill(name_of(genome) + ".", 110)
    return f"{name}\n\n{textwrap.fill(motivation_of(genome), 110)}\n\n{legend}\n"
