"""The space of feed-forward designs: 5,040 of them, few enough to be looked at one by one."""

from __future__ import annotations

from agents.grammar.channel_mixer.describe import motivation_of, name_of
from agents.grammar.channel_mixer.genome import DOMAINS, Activation, Bottleneck, Gate, Genome, Output
from agents.grammar.channel_mixer.known import BASELINE_GENOMES, KNOWN_GENOMES
from agents.grammar.channel_mixer.render import render
from agents.grammar.channel_mixer.rules import RULES
from agents.grammar.genes import Gene
from agents.grammar.space import Space

_TAME: tuple[tuple[str, Gene], ...] = (
    ("inner_norm", True),
    ("activation", Activation.gelu),
    ("gate_activation", Activation.sigmoid),
)
_LIGHTER: tuple[tuple[str, Gene], ...] = (
    ("bottleneck", Bottleneck.none),
    ("gate", Gate.none),
    ("output", Output.none),
)

CHANNEL_MIXERS = Space(
    slot="channel_mixer",
    genome=Genome,
    domains=DOMAINS,
    rules=RULES,
    render=render,
    name_of=name_of,
    motivation_of=motivation_of,
    baselines=BASELINE_GENOMES,
    known=KNOWN_GENOMES,
    remedies={
        "contract": (("bottleneck", Bottleneck.none), ("gate", Gate.full)),
        "finite": _TAME,
        "nonfinite": _TAME,
        "diverged": _TAME,
        "slow": _LIGHTER,
        "silent": _LIGHTER,
        "timeout": _LIGHTER,
        "memory": _LIGHTER,
        "gradients": (("activation", Activation.gelu), ("gate_activation", Activation.sigmoid)),
    },
)
