"""Which module of fla's has which name of ours: the whole of what the stand-in offers."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from models.fla_standin import (
    activations,
    cache,
    convolution,
    feature_maps,
    norm_layers,
    norms,
    ops_decay,
    ops_delta,
    packing,
    padding,
    rotary,
    runtime,
)

FLA_VERSION = "0.5.2"  # whose names and semantics these are


def tree() -> dict[str, dict[str, Any]]:
    """fla's module names, parents before their children, each with its public names."""
    found: dict[str, dict[str, Any]] = {"fla": {"__version__": FLA_VERSION}}
    for name, contents in {**_modules(), **_ops(), **_rest()}.items():
        found[name] = dict(contents)
    return found


def _modules() -> dict[str, Mapping[str, Any]]:
    gated = _public(
        norm_layers,
        "FusedLayerNormGated FusedLayerNormSwishGate FusedLayerNormSwishGateLinear FusedRMSNormGated "
        "FusedRMSNormSwishGate FusedRMSNormSwishGateLinear",
    )
    plain = _public(norm_layers, "GroupNorm GroupNormLinear LayerNorm LayerNormLinear RMSNorm RMSNormLinear")
    filters = _public(convolution, "ShortConvolution causal_conv1d causal_conv1d_update")
    act = _public(
        activations,
        "ACT2FN bias_gelu_impl fast_gelu_impl logsigmoid powglu powglu_linear sigmoid sigmoidglu sigmoidglu_linear "
        "sqrelu swiglu swiglu_linear swish",
    )
    rotation = _public(rotary, "RotaryEmbedding rotary_embedding")
    maps = {name: value for name, value in vars(feature_maps).items() if name.endswith("FeatureMap")}
    return {
        "fla.modules": {
            **gated,
            **plain,
            "GatedMLP": activations.GatedMLP,
            "L2Norm": norm_layers.L2Norm,
            "RotaryEmbedding": rotary.RotaryEmbedding,
            "ShortConvolution": convolution.ShortConvolution,
        },
        "fla.modules.activations": act,
        "fla.modules.conv": _public(convolution, "ShortConvolution causal_conv1d"),
        "fla.modules.conv.causal_conv1d": _public(convolution, "causal_conv1d"),
        "fla.modules.conv.short_conv": _public(convolution, "ShortConvolution"),
        "fla.modules.convolution": filters,
        "fla.modules.feature_map": maps,
        "fla.modules.fused_norm_gate": {
            **gated,
            **_public(norms, "layer_norm_gated layer_norm_swish_gate_linear rms_norm_gated rms_norm_swish_gate_linear"),
        },
        "fla.modules.l2norm": {"L2Norm": norm_layers.L2Norm, "l2_norm": norms.l2norm, "l2norm": norms.l2norm},
        "fla.modules.layernorm": {
            **plain,
            **_public(norms, "group_norm group_norm_linear layer_norm layer_norm_linear rms_norm rms_norm_linear"),
        },
        "fla.modules.layernorm_gated": {
            **_public(norm_layers, "LayerNormGated RMSNormGated"),
            **_public(norms, "layernorm_fn rmsnorm_fn"),
        },
        "fla.modules.mlp": {"GatedMLP": activations.GatedMLP, "swiglu": activations.swiglu},
        "fla.modules.rotary": rotation,
        "fla.modules.token_shift": _public(convolution, "token_shift"),
    }


def _ops() -> dict[str, Mapping[str, Any]]:
    found: dict[str, dict[str, Any]] = {"fla.ops": {}}
    for package, (room, forms) in _FORMS.items():
        path = f"fla.ops.{package}"
        found[path] = {}
        for form, names in forms.items():
            found[f"{path}.{form}"] = _public(room, names)
            if form not in ("gate", "parallel") or package in ("simple_gla", "retention"):
                found[path].update(found[f"{path}.{form}"])
        found["fla.ops"].update(found[path])
    del found["fla.ops"]["chunk_hgrn"]  # fla itself does not export it there
    gdn = {
        "chunk_gdn": ops_delta.chunk_gated_delta_rule,
        "fused_recurrent_gdn": ops_delta.fused_recurrent_gated_delta_rule,
    }
    found["fla.ops.gated_delta_rule"].update(gdn)
    found["fla.ops"].update(gdn)
    index = {name: value for name, value in vars(packing).items() if name.startswith(("prepare_", "get_max_"))}
    found["fla.ops.utils"] = index
    found["fla.ops.utils.index"] = index
    return {**found}


_FORMS: dict[str, tuple[ModuleType, dict[str, str]]] = {
    "delta_rule": (
        ops_delta,
        {
            "chunk": "chunk_delta_rule",
            "fused_chunk": "fused_chunk_delta_rule",
            "fused_recurrent": "fused_recurrent_delta_rule",
            "parallel": "parallel_delta_rule",
        },
    ),
    "gated_delta_rule": (
        ops_delta,
        {
            "chunk": "chunk_gated_delta_rule",
            "fused_recurrent": "fused_recurrent_gated_delta_rule",
            "gate": "fused_gdn_gate",
        },
    ),
    "gla": (
        ops_decay,
        {"chunk": "chunk_gla", "fused_chunk": "fused_chunk_gla", "fused_recurrent": "fused_recurrent_gla"},
    ),
    "hgrn": (ops_decay, {"chunk": "chunk_hgrn", "fused_recurrent": "fused_recurrent_hgrn"}),
    "kda": (
        ops_delta,
        {"chunk": "chunk_kda", "fused_recurrent": "fused_recurrent_kda", "gate": "fused_kda_gate"},
    ),
    "linear_attn": (
        ops_decay,
        {
            "chunk": "chunk_linear_attn",
            "fused_chunk": "fused_chunk_linear_attn",
            "fused_recurrent": "fused_recurrent_linear_attn",
        },
    ),
    "retention": (
        ops_decay,
        {
            "chunk": "chunk_retention",
            "fused_chunk": "fused_chunk_retention",
            "fused_recurrent": "fused_recurrent_retention",
            "parallel": "parallel_retention",
        },
    ),
    "simple_gla": (
        ops_decay,
        {
            "chunk": "chunk_simple_gla",
            "fused_chunk": "fused_chunk_simple_gla",
            "fused_recurrent": "fused_recurrent_simple_gla",
            "parallel": "parallel_simple_gla",
        },
    ),
}


def _rest() -> dict[str, Mapping[str, Any]]:
    flags = {**runtime.FLAGS, **{name.lower(): value for name, value in runtime.FLAGS.items()}}
    return {
        "fla.layers": {},
        "fla.layers.utils": _public(
            padding,
            "get_layer_cache get_unpad_data index_first_axis index_put_first_axis pad_input require_cache_layer_idx "
            "unpad_input update_layer_cache",
        ),
        "fla.models": {},
        "fla.models.utils": {"Cache": cache.Cache, "FLACache": cache.Cache, "LegacyFLACache": cache.Cache},
        "fla.utils": {
            **flags,
            **_public(
                runtime,
                "autocast_custom_bwd autocast_custom_fwd autotune_cache_kwargs check_pytorch_version check_shared_mem "
                "checkpoint contiguous custom_device_ctx device device_name device_platform device_torch_lib "
                "get_abs_err get_available_device get_err_ratio get_multiprocessor_count input_guard tensor_cache",
            ),
        },
    }


def _public(room: ModuleType, names: str) -> dict[str, Any]:
    return {name: getattr(room, name) for name in names.split()}
