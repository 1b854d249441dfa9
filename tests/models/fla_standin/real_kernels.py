"""Run by `test_real_kernels` in a process with TRITON_INTERPRET=1: fla's Triton kernels against the stand-in.

Prints one line for each call: its name, then the largest relative difference of outputs and of gradients.
"""

from __future__ import annotations

import importlib

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from triton.runtime import interpreter
from triton.runtime.autotuner import Autotuner

from models.fla_standin.names import tree

# Nothing can be timed here: every kernel runs in its first configuration.
Autotuner.run = lambda self, *args, **kwargs: self.fn.run(*args, **{**self.configs[0].kwargs, **kwargs})


def _scalars_for_numpy(tensor: object, scope: object, given: object = interpreter._patch_lang_tensor) -> None:
    """numpy 2.4 turns no array of one element into an int, which Triton 3.6's interpreter asks for in loops."""
    given(tensor, scope)  # type: ignore[operator]
    scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))  # type: ignore[attr-defined]


interpreter._patch_lang_tensor = _scalars_for_numpy


DRAW = torch.Generator().manual_seed(0)
B, T, H, K = 1, 37, 2, 16
BORDERS = torch.tensor([0, 5, 21, 37], dtype=torch.int32)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=DRAW)


def log_decay(*shape: int) -> Tensor:
    return F.logsigmoid(normal(*shape))


def heads(sequences: int = B, **more: object) -> dict[str, object]:
    """q, k, v and states in and out."""
    states = {"initial_state": normal(sequences, H, K, K), "output_final_state": True}
    packed = {"cu_seqlens": BORDERS} if sequences > 1 else {}
    keys = F.normalize(normal(B, T, H, K), dim=-1)
    return {"q": normal(B, T, H, K), "k": keys, "v": normal(B, T, H, K), **states, **packed, **more}


def in_kernel() -> dict[str, object]:
    return {
        "g": normal(B, T, H),
        "beta": normal(B, T, H),
        "A_log": normal(H),
        "dt_bias": normal(H),
        "use_gate_in_kernel": True,
        "use_beta_sigmoid_in_kernel": True,
        "allow_neg_eigval": True,
        "use_qk_l2norm_in_kernel": True,
        "state_v_first": True,
    }


def calls() -> list[tuple[str, dict[str, object], bool]]:
    """Module and name, arguments, and whether fla has a backward pass to compare with."""
    beta = torch.rand(B, T, H, generator=DRAW)
    gk, gv, g = log_decay(B, T, H, K), log_decay(B, T, H, K), log_decay(B, T, H)
    x, weight, bias = normal(2, 5, 16), normal(16), normal(16)
    conv = {"weight": normal(8, 4), "bias": normal(8), "activation": "silu"}
    scan = {"x": normal(B, T, 16), "g": log_decay(B, T, 16), "initial_state": normal(B, 16), "output_final_state": True}
    positive = {"q": normal(B, T, H, K).exp(), "k": normal(B, T, H, K).exp(), "v": normal(B, T, H, K)}
    return [
        ("ops.delta_rule.fused_recurrent_delta_rule", heads(beta=beta), True),
        ("ops.delta_rule.fused_recurrent_delta_rule", heads(3, beta=beta, use_qk_l2norm_in_kernel=True), True),
        ("ops.gated_delta_rule.fused_recurrent_gated_delta_rule", heads(g=g, beta=beta), False),
        ("ops.gated_delta_rule.fused_recurrent_gated_delta_rule", heads(g=g, gk=gk, gv=gv, beta=beta), False),
        ("ops.gated_delta_rule.fused_recurrent_gated_delta_rule", heads(**in_kernel()), False),
        ("ops.kda.fused_recurrent_kda", heads(g=gk, beta=beta), False),
        ("ops.gla.chunk_gla", heads(g=gk), True),
        ("ops.gla.chunk_gla", heads(3, g=gk, state_v_first=True), True),
        ("ops.gla.fused_recurrent_gla", heads(gk=gk), True),
        ("ops.gla.fused_recurrent_gla", heads(gk=gk, gv=gv, reverse=True), True),
        ("ops.simple_gla.chunk_simple_gla", heads(g=g), True),
        ("ops.simple_gla.chunk_simple_gla", heads(g_gamma=log_decay(H)), False),
        ("ops.simple_gla.fused_chunk_simple_gla", heads(g=g), True),
        ("ops.simple_gla.fused_recurrent_simple_gla", heads(g=g, reverse=True, scale=0.3), True),
        ("ops.simple_gla.parallel_simple_gla", {**positive, "g": g}, True),
        ("ops.retention.chunk_retention", heads(), True),
        ("ops.retention.fused_recurrent_retention", heads(), True),
        ("ops.retention.parallel_retention", positive, True),
        ("ops.linear_attn.chunk_linear_attn", positive, True),
        ("ops.linear_attn.fused_recurrent_linear_attn", heads(), True),
        ("ops.hgrn.fused_recurrent_hgrn", scan, True),
        ("modules.l2norm.l2norm", {"x": x}, True),
        ("modules.convolution.causal_conv1d", {"x": normal(2, 9, 8), "residual": normal(2, 9, 8), **conv}, True),
        (
            "modules.convolution.causal_conv1d",
            {"x": normal(1, 37, 8), "initial_state": normal(3, 8, 4), "output_final_state": True, **conv}
            | {"cu_seqlens": BORDERS},
            False,  # fla's gradient through the cache leaves out its oldest input
        ),
        ("modules.convolution.causal_conv1d_update", {"x": normal(3, 1, 8), "cache": normal(3, 8, 4), **conv}, False),
        (
            "modules.token_shift.token_shift",
            {"x": normal(1, 37, 8), "cu_seqlens": BORDERS, "cache": normal(3, 8), "output_cache": True},
            False,
        ),
        ("modules.layernorm.rms_norm", {"x": x, "weight": weight, "bias": bias, "residual": -x, "prenorm": True}, True),
        ("modules.layernorm.group_norm", {"x": x, "weight": weight, "bias": bias, "num_groups": 4}, True),
        ("modules.fused_norm_gate.rms_norm_gated", {"x": x, "g": -x, "weight": weight, "bias": None}, True),
        (
            "modules.fused_norm_gate.layer_norm_gated",
            {"x": x, "g": -x, "weight": weight, "bias": bias, "activation": "sigmoid"},
            True,
        ),
        (
            "modules.layernorm_gated.rmsnorm_fn",
            {"x": x, "weight": weight, "bias": None, "z": -x, "group_size": 8, "norm_before_gate": False},
            True,
        ),
        (
            "modules.rotary.rotary_embedding",
            {"x": normal(2, 7, 2, 16), "cos": normal(9, 4), "sin": normal(9, 4), "interleaved": True}
            | {"seqlen_offsets": 2},
            False,
        ),
    ]


def executed(function: object, arguments: dict[str, object], backward: bool) -> tuple[list[Tensor], list[Tensor]]:
    """Tensors that come out, and gradients of all that went in."""
    given = {
        name: value.clone().requires_grad_() if isinstance(value, Tensor) and value.is_floating_point() else value
        for name, value in arguments.items()
    }
    answer = function(**given)  # type: ignore[operator]
    outs = [item for item in (answer if isinstance(answer, tuple) else (answer,)) if isinstance(item, Tensor)]
    if not backward:
        return outs, []
    draw = torch.Generator().manual_seed(1)
    loss = sum((out * torch.randn(out.shape, generator=draw)).sum() for out in outs)
    leaves = [value for value in given.values() if isinstance(value, Tensor) and value.requires_grad]
    return outs, list(torch.autograd.grad(loss, leaves))


def apart(one: list[Tensor], other: list[Tensor]) -> float:
    assert [(x.shape, x.dtype) for x in one] == [(x.shape, x.dtype) for x in other]
    return max(
        (float((x - y).detach().norm() / (y.detach().norm() + 1e-9)) for x, y in zip(one, other, strict=True)),
        default=0.0,
    )


def main() -> None:
    ours = tree()
    for path, arguments, backward in calls():
        module, _, name = f"fla.{path}".rpartition(".")
        theirs = executed(getattr(importlib.import_module(module), name), arguments, backward)
        mine = executed(ours[module][name], arguments, backward)
        print(name, *(f"{apart(mine[part], theirs[part]):.1e}" for part in (0, 1)), flush=True)


if __name__ == "__main__":
    main()
