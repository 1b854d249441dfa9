"""Genome to source: short PyTorch against `kernels.dispatch`, with nothing in it that the design does not use."""

from __future__ import annotations

from agents.grammar.token_mixer.describe import docstring_of
from agents.grammar.token_mixer.genome import (
    ConvOn,
    Decay,
    DecayForm,
    FeatureMap,
    Genome,
    NormAt,
    OutputGate,
    OutputNorm,
    QKNorm,
    Width,
    Write,
    WriteGate,
)
from agents.grammar.token_mixer.program import Program
from agents.grammar.token_mixer.render_paths import add_paths
from agents.grammar.token_mixer.rules import canonical

_HEADS = {Width.half: "max(1, num_heads // 2)", Width.same: "num_heads", Width.double: "2 * num_heads"}
_KEY_DIMS = {
    Width.half: "2 * max(1, hidden_size // (4 * self.num_heads))",
    Width.same: "2 * max(1, hidden_size // (2 * self.num_heads))",
    Width.double: "2 * max(1, hidden_size // self.num_heads)",
}
_VALUE_DIMS = {
    Width.same: "max(4, hidden_size // self.num_heads)",
    Width.double: "max(4, 2 * hidden_size // self.num_heads)",
}
_FEATURES = {
    FeatureMap.elu1: "q, k = F.elu(q) + 1, F.elu(k) + 1",
    FeatureMap.relu: "q, k = F.relu(q), F.relu(k)",
    FeatureMap.relu2: "q, k = F.relu(q).square(), F.relu(k).square()",
    FeatureMap.silu: "q, k = F.silu(q), F.silu(k)",
    FeatureMap.softmax: "q, k = q.softmax(dim=-1), k.softmax(dim=-1)",
}
_NORMS = {
    QKNorm.l2: "q, k = F.normalize(q, dim=-1, eps=1e-6), F.normalize(k, dim=-1, eps=1e-6)",
    QKNorm.rms: "q, k = F.rms_norm(q, (self.key_dim,), eps=1e-6), F.rms_norm(k, (self.key_dim,), eps=1e-6)",
}
_DECAY_RANK = 16  # of the low-rank projection behind a decay per channel (GLA)


def render(genome: Genome) -> str:
    """The program of a design: one module with `class TokenMixer(nn.Module)`. Equal designs give equal text."""
    genome = canonical(genome)
    program = Program()
    _add_shapes(genome, program)
    _add_projections(genome, program)
    _add_features(genome, program)
    if genome.decay is not Decay.none:
        _add_decay(genome, program)
    if genome.write_gate is not WriteGate.none:
        _add_write_gate(genome, program)
    _add_memory(genome, program)
    if len(genome.paths) > 1:
        add_paths(genome, program)
    _add_output(genome, program)
    return program.source(docstring_of(genome))


def _add_shapes(genome: Genome, program: Program) -> None:
    key_width = "self.key_dim" if genome.shared_keys else "self.num_heads * self.key_dim"
    program.init += [
        f"self.num_heads = {_HEADS[genome.heads]}",
        f"self.key_dim = {_KEY_DIMS[genome.key_width]}",
        f"self.value_dim = {_VALUE_DIMS[genome.value_width]}",
        f"key_width, value_width = {key_width}, self.num_heads * self.value_dim",
    ]
    program.forward.append("B, T, _ = x.shape")
    program.state.append("self.num_heads * self.key_dim * self.value_dim")
    if genome.normalise:
        program.state.append("self.num_heads * self.key_dim")


def _add_projections(genome: Genome, program: Program) -> None:
    if genome.token_shift:
        program.init.append("self.shift = nn.Parameter(torch.full((hidden_size,), 0.5))")
        program.operators.add("causal_conv")
        program.forward += [
            "mixed = torch.stack([self.shift, 1 - self.shift], dim=1)  # of the token before, of the token",
            'x = keep(past, "x", causal_conv, x, mixed)',
        ]
        program.state.append("self.shift.numel()")
    for stream, width, dim in (
        ("q", "key_width", "self.key_dim"),
        ("k", "key_width", "self.key_dim"),
        ("v", "value_width", "self.value_dim"),
    ):
        program.init.append(f"self.{stream}_proj = nn.Linear(hidden_size, {width}, bias=False)")
        text = f"self.{stream}_proj(x)"
        if genome.conv_on is not ConvOn.none and stream in genome.conv_on:
            program.operators.add("causal_conv")
            program.helpers.add("short_filter")
            program.init.append(f"self.{stream}_conv = short_filter({width}, {genome.conv_taps})")
            look_back = f"self.{stream}_conv.shape[0]"
            program.state.append(look_back if genome.conv_taps == 2 else f"{genome.conv_taps - 1} * {look_back}")
            text = f'keep(past, "{stream}", causal_conv, {text}, self.{stream}_conv)'
            text = f"F.silu({text})" if genome.conv_silu else text
        if stream == "v" and genome.value_silu:
            text = f"F.silu({text})"
        program.forward.append(f"{stream} = {text}.view(B, T, -1, {dim})")


def _add_features(genome: Genome, program: Program) -> None:
    if genome.feature_map is not FeatureMap.identity:
        program.forward.append(_FEATURES[genome.feature_map])
    if genome.qk_norm is not QKNorm.none:
        program.forward.append(_NORMS[genome.qk_norm])
    if genome.rotary:
        program.helpers.add("rotary")
        program.forward += [
            'start = past.get("position", 0) if past else 0',
            "q, k = rotary(q, start), rotary(k, start)",
        ]
    if genome.shared_keys:
        program.forward.append("q, k = q.expand(-1, -1, self.num_heads, -1), k.expand(-1, -1, self.num_heads, -1)")


def _add_decay(genome: Genome, program: Program) -> None:
    if genome.decay is Decay.fixed:
        if genome.write is Write.delta:
            program.init.append(
                'self.register_buffer("log_decay", torch.log1p(-(2.0 ** (-5.0 - torch.arange(self.num_heads)))))'
            )
            program.forward.append("g = self.log_decay.expand(B, T, -1)")
        return
    if genome.decay is Decay.learned:
        program.init.append("self.decay = nn.Parameter(torch.linspace(-1.0, -6.0, self.num_heads))")
        program.forward.append("g = -F.softplus(self.decay).expand(B, T, -1)")
        return
    channel = genome.decay is Decay.channel
    softplus = genome.decay_form is DecayForm.softplus
    heads = "self.num_heads, self.key_dim" if channel else "self.num_heads"
    if channel:
        program.init += [
            f"self.decay_down = nn.Linear(hidden_size, {_DECAY_RANK}, bias=False)",
            f"self.decay_up = nn.Linear({_DECAY_RANK}, self.num_heads * self.key_dim, bias=False)",
        ]
        text = "self.decay_up(self.decay_down(x)).view(B, T, self.num_heads, self.key_dim)"
    else:
        program.init.append("self.decay_proj = nn.Linear(hidden_size, self.num_heads, bias=False)")
        text = "self.decay_proj(x)"
    program.forward.append(f"g = {text} + self.decay_bias")
    if softplus:  # spread over the heads: rates 1 to 16, steps (softplus of the bias) 0.001 to 0.1, as in Mamba-2
        spread = "[:, None].repeat(1, self.key_dim)" if channel else ""
        program.init += [
            f"self.decay_bias = nn.Parameter(torch.linspace(-6.9, -2.3, self.num_heads){spread})",
            "self.decay_rate = nn.Parameter(torch.linspace(1.0, 16.0, self.num_heads).log())",
        ]
        rate = "self.decay_rate.exp()[:, None]" if channel else "self.decay_rate.exp()"
        program.forward.append(f"g = -{rate} * F.softplus(g)")
    else:
        program.init.append(f"self.decay_bias = nn.Parameter(torch.zeros({heads}))")
        program.forward.append("g = F.logsigmoid(g) / 16")


def _add_write_gate(genome: Genome, program: Program) -> None:
    per_head = True
    match genome.write_gate:
        case WriteGate.token:
            program.init.append("self.write_proj = nn.Linear(hidden_size, self.num_heads, bias=False)")
            strength = "torch.sigmoid(self.write_proj(x))"
        case WriteGate.head:
            program.init.append("self.write_strength = nn.Parameter(torch.zeros(self.num_heads))")
            strength = "torch.sigmoid(self.write_strength).expand(B, T, -1)"
        case _:
            strength, per_head = "-torch.expm1(g)", genome.decay is not Decay.channel
    if genome.write is Write.delta:
        program.forward.append(f"beta = {strength}")
    else:
        program.forward.append(f"k = k * {f'({strength})[..., None]' if per_head else f'({strength})'}")


def _add_memory(genome: Genome, program: Program) -> None:
    if genome.write is Write.delta:
        name, inputs = {Decay.none: ("delta_rule", "beta"), Decay.channel: ("kda", "g, beta")}.get(
            genome.decay, ("gated_delta_rule", "g, beta")
        )
    else:
        name, inputs = {
            Decay.none: ("linear_attn", "normalize=True" if genome.normalise else ""),
            Decay.fixed: ("retention", ""),
            Decay.learned: ("simple_gla", "g"),
            Decay.scalar: ("simple_gla", "g"),
            Decay.channel: ("gla", "g"),
        }[genome.decay]
    program.operators.add(name)
    target = "o" if len(genome.paths) == 1 else "memory"
    program.forward.append(f'{target} = keep(past, "memory", {", ".join(filter(None, [name, "q, k, v", inputs]))})')
    if genome.output_norm is not OutputNorm.none:
        kind = {OutputNorm.rms: "RMSNorm", OutputNorm.layer: "LayerNorm"}[genome.output_norm]
        program.init.append(f"self.norm = nn.{kind}(self.value_dim, eps=1e-5)")
        if target == "o" or genome.norm_at is NormAt.memory:
            program.forward.append(f"{target} = self.norm({target})")


def _add_output(genome: Genome, program: Program) -> None:
    if len(genome.paths) > 1 and genome.output_norm is not OutputNorm.none and genome.norm_at is NormAt.output:
        program.forward.append("o = self.norm(o)")
    match genome.output_gate:
        case OutputGate.head:
            program.init.append("self.gate_proj = nn.Linear(hidden_size, self.num_heads)")
            program.forward.append("o = o * torch.sigmoid(self.gate_proj(x))[..., None]")
        case OutputGate.sigmoid | OutputGate.swish:
            function = "torch.sigmoid" if genome.output_gate is OutputGate.sigmoid else "F.silu"
            program.init.append("self.gate_proj = nn.Linear(hidden_size, value_width, bias=False)")
            program.forward.append(f"o = o * {function}(self.gate_proj(x)).view_as(o)")
        case _:
            pass
    program.init.append("self.out_proj = nn.Linear(value_width, hidden_size, bias=False)")
    program.forward.append("return self.out_proj(o.flatten(2))")
