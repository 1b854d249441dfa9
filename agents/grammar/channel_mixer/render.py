"""Genome to source: short PyTorch with nothing in it that the design does not use."""

from __future__ import annotations

import textwrap

from agents.grammar.channel_mixer.describe import docstring_of
from agents.grammar.channel_mixer.genome import Activation, Bottleneck, Gate, Genome, Output
from agents.grammar.channel_mixer.rules import canonical

_APPLIED = {
    Activation.identity: "{}",
    Activation.sigmoid: "torch.sigmoid({})",
    Activation.relu: "F.relu({})",
    Activation.relu2: "F.relu({}).square()",
    Activation.silu: "F.silu({})",
    Activation.gelu: "F.gelu({})",
}
_GROUPS = 8  # widths go in steps of eight
_RANK = "max(8, hidden_size // 8)"  # of a low-rank gate
_NARROW = "max(8, hidden_size // 2)"  # of a bottleneck


def render(genome: Genome) -> str:
    """The program of a design: one module with `class ChannelMixer(nn.Module)`. Equal designs give equal text."""
    genome = canonical(genome)
    init: list[str] = []
    forward: list[str] = []
    source = _add_entry(genome, init, forward)
    shift = "" if genome.shift else ", bias=False"
    init.append(f"self.up = nn.Linear({'narrow' if source == 'z' else 'hidden_size'}, width{shift})")
    forward.append(f"h = {_APPLIED[genome.activation].format(f'self.up({source})')}")
    _add_gate(genome, source, init, forward)
    if genome.inner_norm:
        init.append("self.norm = nn.RMSNorm(width, eps=1e-5)")
        forward.append("h = self.norm(h)")
    _add_way_out(genome, init, forward)
    return _source(docstring_of(genome), init, forward)


def _add_entry(genome: Genome, init: list[str], forward: list[str]) -> str:
    """Name of what the projections read: the input, or what a bottleneck leaves of it."""
    if genome.bottleneck is not Bottleneck.up:
        return "x"
    init += [f"narrow = {_NARROW}", "self.enter = nn.Linear(hidden_size, narrow, bias=False)"]
    forward.append("z = self.enter(x)")
    return "z"


def _add_gate(genome: Genome, source: str, init: list[str], forward: list[str]) -> None:
    size, shift = "narrow" if source == "z" else "hidden_size", "" if genome.shift else ", bias=False"
    match genome.gate:
        case Gate.none:
            return
        case Gate.full:
            init.append(f"self.gate = nn.Linear({size}, width{shift})")
            logits = f"self.gate({source})"
        case Gate.low_rank:
            init += [
                f"rank = {_RANK}",
                f"self.gate_down = nn.Linear({size}, rank, bias=False)",
                f"self.gate_up = nn.Linear(rank, width{shift})",
            ]
            logits = f"self.gate_up(self.gate_down({source}))"
        case Gate.heads:
            init.append(f"self.gate = nn.Linear({size}, {_GROUPS}{shift})")
            logits = f"self.gate({source})"
    gate = _APPLIED[genome.gate_activation].format(logits)
    if genome.gate is Gate.heads:
        forward.append(f"h = (h.unflatten(-1, ({_GROUPS}, -1)) * {gate}[..., None]).flatten(-2)")
    else:
        forward.append(f"h = h * {gate}")


def _add_way_out(genome: Genome, init: list[str], forward: list[str]) -> None:
    if genome.bottleneck is Bottleneck.down:
        init += [
            f"narrow = {_NARROW}",
            "self.leave = nn.Linear(width, narrow, bias=False)",
            "self.down = nn.Linear(narrow, hidden_size, bias=False)",
        ]
        out = "self.down(self.leave(h))"
    else:
        init.append("self.down = nn.Linear(width, hidden_size, bias=False)")
        out = "self.down(h)"
    if genome.output is Output.scale:
        init.append("self.scale = nn.Parameter(torch.ones(hidden_size))")
        out = f"self.scale * {out}"
    elif genome.output is Output.gate:
        init += [
            "self.slope = nn.Parameter(torch.zeros(hidden_size))",
            "self.offset = nn.Parameter(torch.full((hidden_size,), 2.0))",
        ]
        out = f"torch.sigmoid(self.slope * x + self.offset) * {out}"
    if genome.skip:
        init.append("self.skip = nn.Parameter(torch.zeros(hidden_size))")
        out = f"{out} + self.skip * x"
    forward.append(f"return {out}")


def _source(docstring: str, init: list[str], forward: list[str]) -> str:
    imports = ["import torch", "from torch import nn"]
    if any("F." in line for line in forward):
        imports.append("from torch.nn import functional as F")
    lines = "\n".join(init), "\n".join(forward)
    built, run = (textwrap.indent(text, " " * 8) for text in lines)
    return (
        f'"""{docstring}"""\n\n' + "\n".join(imports) + "\n\n\n"
        "class ChannelMixer(nn.Module):\n"
        "    def __init__(self, hidden_size: int, width: int, layer_idx: int = 0, **kwargs: object) -> None:\n"
        "        super().__init__()\n"
        f"{built}\n\n"
        "    def forward(self, x: torch.Tensor) -> torch.Tensor:\n"
        f"{run}\n"
    )
