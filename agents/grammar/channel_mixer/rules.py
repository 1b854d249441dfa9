"""The one place that knows which genes of a channel mixer go together."""

from __future__ import annotations

from itertools import combinations

from agents.grammar.channel_mixer.genome import Activation, Gate, Genome
from agents.grammar.rules import Rule, asleep, canonical_by

_EITHER_SIDE = (Activation.identity, Activation.relu, Activation.silu, Activation.gelu)


def _exchanged(first: Activation, second: Activation) -> Rule[Genome]:
    return Rule(
        why="of two full factors each may be called the gate: the plainer one is the channels'",
        applies=lambda g: g.gate is Gate.full and (g.activation, g.gate_activation) == (second, first),
        values={"activation": first, "gate_activation": second},
    )


# In order: a later rule sees what earlier ones settled.
RULES: tuple[Rule[Genome], ...] = (
    asleep(Genome(), "nothing is gated", lambda g: g.gate is Gate.none, "gate_activation"),
    Rule(
        why="without a gate something has to bend, or the whole is one matrix",
        applies=lambda g: g.gate is Gate.none and g.activation is Activation.identity,
        values={"activation": Activation.gelu},
    ),
    *(_exchanged(first, second) for first, second in combinations(_EITHER_SIDE, 2)),
    Rule(
        why="channels that a relu has cut are not cut once more by another",
        applies=lambda g: (
            g.gate is Gate.full
            and g.activation in (Activation.relu, Activation.relu2)
            and g.gate_activation is Activation.relu
        ),
        values={"gate_activation": Activation.sigmoid},
    ),
    Rule(
        why="fingerprints give equally shaped factors equal weights and take these two for one: u relu(u) sigmoid(u)",
        applies=lambda g: (
            g.gate is Gate.full and (g.activation, g.gate_activation) == (Activation.relu, Activation.silu)
        ),
        values={"activation": Activation.relu2, "gate_activation": Activation.sigmoid},
    ),
)


def canonical(genome: Genome) -> Genome:
    """The valid, non-redundant design that stands for this one."""
    return canonical_by(RULES, genome)
