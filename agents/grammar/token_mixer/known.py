"""Known designs as genomes: the hand-written baselines, so that they can be parents, and published multi-path designs.

A genome says what the grammar can say of a design; the published programs differ in details (see each comment).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

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
from agents.grammar.token_mixer.rules import canonical

_DELTA_NET = canonical(
    Genome(
        conv_on=ConvOn.qkv,
        qk_norm=QKNorm.l2,
        write=Write.delta,
        write_gate=WriteGate.token,
        output_norm=OutputNorm.rms,
    )
)

# Keyed by the names under which models ships the hand-written programs.
BASELINE_GENOMES: Mapping[str, Genome] = {
    "linear_attention": canonical(Genome(feature_map=FeatureMap.elu1, normalise=True)),  # arXiv 2006.16236
    "retnet": canonical(  # arXiv 2307.08621
        Genome(decay=Decay.fixed, rotary=True, output_norm=OutputNorm.rms, output_gate=OutputGate.swish)
    ),
    "delta_net": _DELTA_NET,  # arXiv 2406.06484
    "gated_delta_net": replace(_DELTA_NET, decay=Decay.scalar, output_gate=OutputGate.swish),  # arXiv 2412.06464
}

_THREE_PATHS = replace(_DELTA_NET, short_taps=3, long_taps=63, norm_at=NormAt.output)

# Designs from the literature and the five discoveries of arXiv 2507.18074 (from their descriptions).
KNOWN_GENOMES: Mapping[str, Genome] = {
    "gla": canonical(  # arXiv 2312.06635
        Genome(
            key_width=Width.half,
            decay=Decay.channel,
            decay_form=DecayForm.sigmoid,
            output_norm=OutputNorm.rms,
            output_gate=OutputGate.swish,
        )
    ),
    "mamba2": canonical(  # arXiv 2405.21060, without its fused projections; the skip is a summed direct path
        Genome(
            shared_keys=True,
            conv_on=ConvOn.qkv,
            decay=Decay.scalar,
            write_gate=WriteGate.token,
            direct=True,
            fusion=Fusion.sum,
            output_norm=OutputNorm.rms,
            output_gate=OutputGate.swish,
        )
    ),
    "kimi_delta_attention": replace(  # arXiv 2510.26692
        _DELTA_NET, decay=Decay.channel, output_gate=OutputGate.sigmoid
    ),
    "hgrn2": canonical(  # arXiv 2404.07904: the input gate is one minus the forget gate
        Genome(decay=Decay.channel, decay_form=DecayForm.sigmoid, write_gate=WriteGate.tied, output_norm=OutputNorm.rms)
    ),
    "path_gate_fusion_net": canonical(
        replace(_THREE_PATHS, direct=True, fusion=Fusion.direct_context, residual=True, output_gate=OutputGate.head)
    ),
    "content_sharp_router": canonical(
        replace(_THREE_PATHS, direct=True, fusion=Fusion.softmax, fusion_logits=Logits.stats, temperature=True)
    ),
    "fusion_gated_fir_net": canonical(replace(_THREE_PATHS, direct=True, fusion=Fusion.sigmoid, decay=Decay.learned)),
    "hier_gate_net": canonical(replace(_THREE_PATHS, direct=True, fusion=Fusion.local_global, floor=Floor.learned)),
    "ada_multi_path_gate_net": canonical(  # without its entropy penalty
        replace(_THREE_PATHS, direct=True, fusion=Fusion.softmax, fusion_logits=Logits.layered, floor=Floor.small)
    ),
}
