"""The space of linear-attention designs."""

from __future__ import annotations

from agents.grammar.genes import Gene
from agents.grammar.space import Space
from agents.grammar.token_mixer.describe import motivation_of, name_of
from agents.grammar.token_mixer.genome import DOMAINS, Genome, OutputGate, OutputNorm, QKNorm, Width
from agents.grammar.token_mixer.known import BASELINE_GENOMES, KNOWN_GENOMES
from agents.grammar.token_mixer.render import render
from agents.grammar.token_mixer.rules import RULES

_LIGHTER: tuple[tuple[str, Gene], ...] = (("long_taps", 0), ("value_width", Width.same), ("key_width", Width.same))
_TAME: tuple[tuple[str, Gene], ...] = (("qk_norm", QKNorm.l2), ("output_norm", OutputNorm.rms))

TOKEN_MIXERS = Space(
    slot="token_mixer",
    genome=Genome,
    domains=DOMAINS,
    rules=RULES,
    render=render,
    name_of=name_of,
    motivation_of=motivation_of,
    baselines=BASELINE_GENOMES,
    known=KNOWN_GENOMES,
    remedies={
        "contract": (("value_width", Width.same), ("key_width", Width.same), ("output_gate", OutputGate.head)),
        "cost": _LIGHTER,
        "finite": _TAME,
        "nonfinite": _TAME,
        "diverged": _TAME,
        "slow": _LIGHTER,
        "silent": _LIGHTER,
        "timeout": _LIGHTER,
        "memory": _LIGHTER,
        "gradients": (("qk_norm", QKNorm.none), ("output_norm", OutputNorm.rms)),
    },
)
