"""A readable name and a motivation for a genome: what it is called, and why its parts are there."""

from __future__ import annotations

import textwrap

from agents.grammar.channel_mixer.genome import Activation, Bottleneck, Gate, Genome, Output

_GLU_NAMES = {
    Activation.identity: "bilinear",
    Activation.sigmoid: "glu",
    Activation.relu: "reglu",
    Activation.silu: "swiglu",
    Activation.gelu: "geglu",
}

_GATE_WHY = {
    Gate.none: "Every token passes a wide layer that bends each channel for itself.",
    Gate.full: "A second projection multiplies the first, so that channels open and close by the token.",
    Gate.low_rank: "A gate of low rank opens and closes channels for few parameters, which the inner width gets.",
    Gate.heads: "Eight gates are shared by groups of channels: whole groups open and close together.",
}

_OUTPUT_WHY = {
    Output.scale: "A learned scale weighs the outputs.",
    Output.gate: "Each input channel gates the output channel of its own.",
}


def name_of(genome: Genome) -> str:
    """A readable name: different canonical designs have different names."""
    inner, gate = genome.activation.value, genome.gate_activation.value
    if genome.gate is Gate.none:
        words = [f"{inner} mlp"]
    elif genome.gate is Gate.full and genome.activation is Activation.identity:
        words = [_GLU_NAMES[genome.gate_activation]]
    else:
        words = [f"{inner} channels by {genome.gate.value.replace('_', '-')} {gate} gate"]
    parts = (
        ("shifts", genome.shift),
        ("inner norm", genome.inner_norm),
        (f"narrow {genome.bottleneck.value}", genome.bottleneck is not Bottleneck.none),
        ("skip", genome.skip),
        (f"output {genome.output.value}", genome.output is not Output.none),
    )
    return " + ".join([*words, *(word for word, on in parts if on)])


def motivation_of(genome: Genome) -> str:
    """Why the parts of the design are there, in a few sentences."""
    sentences = [_GATE_WHY[genome.gate]]
    if genome.activation is Activation.relu2:
        sentences.append("The squared relu is sparse and steep.")
    if genome.inner_norm:
        sentences.append("A norm of the inner channels keeps products of large numbers at bay.")
    if genome.bottleneck is not Bottleneck.none:
        way = "in" if genome.bottleneck is Bottleneck.up else "out"
        sentences.append(f"A bottleneck on the way {way} pays for more inner channels.")
    if genome.skip:
        sentences.append("A learned share of the input goes around.")
    if genome.output is not Output.none:
        sentences.append(_OUTPUT_WHY[genome.output])
    return " ".join(sentences)


def docstring_of(genome: Genome) -> str:
    """The module docstring of the rendered program, without quotes; it depends on the genome alone."""
    name = textwrap.fill(name_of(genome) + ".", 110)
    return f"{name}\n\n{textwrap.fill(motivation_of(genome), 110)}\n\nx [B, T, D]; inner channels [B, T, W].\n"
