"""The part of a program that runs several causal paths and fuses them.

Legend: P paths, L logits of the fusion gate; paths are [B, T, H, V], weights [B, T, H, P].
"""

from __future__ import annotations

from agents.grammar.token_mixer.genome import Floor, Fusion, Genome, Logits
from agents.grammar.token_mixer.program import Program
from agents.grammar.token_mixer.rules import TWO_STAGE

_FLOORS = {Floor.small: 0.02, Floor.large: 0.05}
_LEARNED_FLOOR = 0.1  # of all paths together, at most


def add_paths(genome: Genome, program: Program) -> None:
    """FIR and direct paths beside the memory, the gate, and the fused output `o`."""
    program.operators.add("fuse_paths")
    scales = {path: taps for path, taps in (("short", genome.short_taps), ("long", genome.long_taps)) if taps}
    if scales:
        program.helpers.add("identity_filter")
        program.init += [f"self.{path}_fir = identity_filter(value_width, {taps})" for path, taps in scales.items()]
    if len(scales) == 2:
        program.operators.add("two_scale_fir")
        program.forward += [
            'short, long = keep(past, "values", two_scale_fir, v.flatten(2), self.short_fir, self.long_fir)',
            "short, long = short.view_as(v), long.view_as(v)",
        ]
    for path in scales if len(scales) == 1 else ():
        program.operators.add("causal_conv")
        program.forward.append(f'{path} = keep(past, "values", causal_conv, v.flatten(2), self.{path}_fir).view_as(v)')
    if look_back := max(genome.short_taps, genome.long_taps):
        program.state.append(f"{look_back - 1} * self.num_heads * self.value_dim")
    names = {"direct": "v"}
    program.forward.append(f"paths = [{', '.join(names.get(path, path) for path in genome.paths)}]")
    _add_weights(genome, program)
    program.forward.append("o = fuse_paths(paths, weights)")
    if genome.residual:
        program.init.append("self.residual = nn.Parameter(torch.full((self.num_heads,), 0.1))")
        program.forward.append("o = o + self.residual[:, None] * v")


def groups_of(genome: Genome) -> tuple[int, int]:
    """Sizes of the two groups of a two-stage fusion; the paths' order puts the first group first."""
    near = ("direct",) if genome.fusion is Fusion.direct_context else ("direct", "short")
    first = sum(path in near for path in genome.paths)
    return first, len(genome.paths) - first


def _add_weights(genome: Genome, program: Program) -> None:
    num_paths = len(genome.paths)
    if genome.fusion is Fusion.sum:
        program.init.append(
            f"self.path_scale = nn.Parameter(torch.full((self.num_heads, {num_paths}), {round(1 / num_paths, 4)}))"
        )
        program.forward.append("weights = self.path_scale.expand(B, T, -1, -1)")
        return
    two_stage = genome.fusion in TWO_STAGE
    num_logits = 2 + sum(size for size in groups_of(genome) if size > 1) if two_stage else num_paths
    _add_logits(genome, program, num_logits)
    if genome.temperature:
        program.init.append("self.log_temperature = nn.Parameter(torch.zeros(self.num_heads))")
        program.forward.append("logits = logits / self.log_temperature.exp()[:, None]")
    if genome.fusion is Fusion.sigmoid:
        program.forward.append("weights = torch.sigmoid(logits)")
    elif genome.fusion is Fusion.softmax:
        program.forward.append("weights = logits.softmax(dim=-1)")
    else:
        _add_two_stages(genome, program)
    _add_floor(genome, program)


def _add_logits(genome: Genome, program: Program, num_logits: int) -> None:
    shape = f"self.num_heads, {num_logits}"
    if genome.fusion_logits is Logits.head:
        program.init.append(f"self.fusion_head = nn.Parameter(torch.zeros({shape}))")
        program.forward.append("logits = self.fusion_head.expand(B, T, -1, -1)")
        return
    layered = genome.fusion_logits is Logits.layered
    bias = ", bias=False" if layered else ""
    program.init.append(f"self.fusion_proj = nn.Linear(hidden_size, self.num_heads * {num_logits}{bias})")
    program.forward.append(f"logits = self.fusion_proj(x).view(B, T, {shape})")
    if layered:
        program.init += [
            f"self.fusion_global = nn.Parameter(torch.zeros({num_logits}))",
            f"self.fusion_head = nn.Parameter(torch.zeros({shape}))",
        ]
        program.forward.append("logits = logits + self.fusion_head + self.fusion_global")
    elif genome.fusion_logits is Logits.stats:
        num_stats = 3 * len(genome.paths)
        program.helpers.add("statistics")
        program.init.append(f"self.fusion_stats = nn.Parameter(torch.zeros(self.num_heads, {num_stats}, {num_logits}))")
        program.forward += [
            "stats = torch.cat([statistics(path) for path in paths], dim=-1)",
            'logits = logits + torch.einsum("bths,hsl->bthl", stats, self.fusion_stats)',
        ]


def _add_two_stages(genome: Genome, program: Program) -> None:
    program.forward.append("share = logits[..., :2].softmax(dim=-1)")
    names = ("direct_share", "context_share") if genome.fusion is Fusion.direct_context else ("local", "distant")
    start = 2
    for index, (name, size) in enumerate(zip(names, groups_of(genome), strict=True)):
        group = f"share[..., {index}:{index + 1}]"
        if size > 1:
            group += f" * logits[..., {start}:{start + size}].softmax(dim=-1)"
            start += size
        program.forward.append(f"{name} = {group}")
    program.forward.append(f"weights = torch.cat([{', '.join(names)}], dim=-1)")


def _add_floor(genome: Genome, program: Program) -> None:
    num_paths = len(genome.paths)
    independent = genome.fusion is Fusion.sigmoid
    if genome.floor is Floor.learned:
        program.init.append(f"self.floor_proj = nn.Linear(hidden_size, self.num_heads * {num_paths})")
        rest = "(1 - floors)" if independent else "(1 - floors.sum(dim=-1, keepdim=True))"
        program.forward += [
            f"floors = {_LEARNED_FLOOR} / {num_paths} * torch.sigmoid(self.floor_proj(x)).view_as(weights)",
            f"weights = floors + {rest} * weights",
        ]
    elif genome.floor is not Floor.none:
        least = _FLOORS[genome.floor]
        rest_share = round(1 - least * (1 if independent else num_paths), 4)
        program.forward.append(f"weights = {least} + {rest_share} * weights")
