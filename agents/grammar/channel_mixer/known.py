"""Known designs as genomes: the hand-written baselines, so that they can be parents, and published relatives."""

from __future__ import annotations

from collections.abc import Mapping

from agents.grammar.channel_mixer.genome import Activation, Gate, Genome
from agents.grammar.channel_mixer.rules import canonical

# Keyed by the names under which models ships the hand-written programs.
BASELINE_GENOMES: Mapping[str, Genome] = {
    "gelu_mlp": canonical(Genome(activation=Activation.gelu)),  # arXiv 1606.08415
    "relu2_mlp": canonical(Genome(activation=Activation.relu2)),  # arXiv 2109.08668
    "swiglu": canonical(Genome(gate=Gate.full, gate_activation=Activation.silu)),  # arXiv 2002.05202
    "geglu": canonical(Genome(gate=Gate.full, gate_activation=Activation.gelu)),  # arXiv 2002.05202
    "reglu": canonical(Genome(gate=Gate.full, gate_activation=Activation.relu)),  # arXiv 2002.05202
}

KNOWN_GENOMES: Mapping[str, Genome] = {
    "glu": canonical(Genome(gate=Gate.full, gate_activation=Activation.sigmoid)),  # arXiv 1612.08083
    "bilinear": canonical(Genome(gate=Gate.full, gate_activation=Activation.identity)),  # arXiv 2002.05202
    "relu_mlp": canonical(Genome(activation=Activation.relu)),  # arXiv 1706.03762, without its shifts
    "norm_mlp": canonical(Genome(activation=Activation.gelu, inner_norm=True)),  # arXiv 2110.09456
}
