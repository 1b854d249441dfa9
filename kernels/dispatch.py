"""The operators that mixers are written against: inputs checked, and handed to the implementation that the rule names.

The checks are in `kernels.checks`, the rule in `kernels.rule`; KERNELS_BACKEND in the environment forces an
implementation. Equations and papers stand with the definitions, `recurrence` in each operator's module.

Layout is [B, T, H, K | V], any T from 1 up; q is multiplied by `scale`, K**-0.5 where that is None. Results have the
dtype of v (of x, of the first path); states are float32 (float64 for float64 inputs), under autocast too. All operators
are causal. With `cu_seqlens`, their cumulative lengths [N + 1], N sequences stand behind each other in one row [1, T].

`with_state` continues a sequence and hands its state back: decoding is that with T = 1.

Not covered: non-finite values. A NaN or infinity reaches every step of its chunk, earlier ones included, and so does an
overflow, which the delta rules meet when keys have norms far above 1.

Shapes: B batch, T time, H heads, K key dim per head, V value dim per head, D width, S and W taps, P paths, L logits,
N packed sequences.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from torch import Tensor

from kernels import checks
from kernels import path_fusion as _path_fusion
from kernels.forms import (
    GATED_NORM,
    PATH_FUSION,
    PATH_SUM,
    full_precision,
    run_convolution,
    run_sequence,
    run_two_scale,
)
from kernels.linear_attn import normalised, with_normaliser
from kernels.path_fusion import path_weights
from kernels.rms_norm_gated import ACTIVATIONS
from kernels.rule import BACKEND_VARIABLE, choose
from kernels.two_scale_fir import TwoScale, num_state_steps

__all__ = [
    "BACKEND_VARIABLE",
    "Continued",
    "TwoScale",
    "causal_conv",
    "delta_rule",
    "dplr_delta_rule",
    "fuse_paths",
    "gated_delta_rule",
    "gla",
    "kda",
    "linear_attn",
    "path_fusion",
    "path_weights",
    "retention",
    "rms_norm_gated",
    "simple_gla",
    "two_scale_fir",
    "with_state",
]

OutT = TypeVar("OutT")


class Continued(NamedTuple, Generic[OutT]):
    """What an operator answers when it carries a state."""

    out: OutT
    state: Tensor  # [B, H, K, V]; of a convolution the last inputs [B, W - 1, D]; N in place of B where packed


def linear_attn(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    normalize: bool = False,
    scale: float | None = None,
    cu_seqlens: Tensor | None = None,
) -> Tensor:
    """o_BTHV: o_t = sum over s <= t of (q_t . k_s) v_s; `normalize` divides by q_t . sum k_s + 1e-6.

    To normalise, q and k have to be positive, as after the feature map elu(x) + 1; the state then has V + 1 columns.
    """
    return _sequence("linear_attn", (q, k, v), scale=scale, cu_seqlens=cu_seqlens, normalize=normalize).out


def retention(
    q: Tensor, k: Tensor, v: Tensor, *, scale: float | None = None, cu_seqlens: Tensor | None = None
) -> Tensor:
    """o_BTHV: linear attention whose head h decays by 1 - 2^(-5-h) a step."""
    return _sequence("retention", (q, k, v), scale=scale, cu_seqlens=cu_seqlens).out


def simple_gla(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, *, scale: float | None = None, cu_seqlens: Tensor | None = None
) -> Tensor:
    """o_BTHV: linear attention with log decay g_BTH <= 0, one for each head and step."""
    return _sequence("simple_gla", (q, k, v, g), scale=scale, cu_seqlens=cu_seqlens).out


def gla(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, *, scale: float | None = None, cu_seqlens: Tensor | None = None
) -> Tensor:
    """o_BTHV: linear attention with log decay g_BTHK <= 0, one for each key channel and step."""
    return _sequence("gla", (q, k, v, g), scale=scale, cu_seqlens=cu_seqlens).out


def delta_rule(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, *, scale: float | None = None, cu_seqlens: Tensor | None = None
) -> Tensor:
    """o_BTHV: S_t = S_(t-1) (I - beta k k^T) + beta v k^T with beta_BTH; give k unit norm, or states may grow."""
    return _sequence("delta_rule", (q, k, v, beta), scale=scale, cu_seqlens=cu_seqlens).out


def gated_delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    *,
    scale: float | None = None,
    cu_seqlens: Tensor | None = None,
) -> Tensor:
    """o_BTHV: S_t = exp(g) S_(t-1) (I - beta k k^T) + beta v k^T with g_BTH <= 0 and beta_BTH; k as in `delta_rule`."""
    return _sequence("gated_delta_rule", (q, k, v, g, beta), scale=scale, cu_seqlens=cu_seqlens).out


def kda(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    *,
    scale: float | None = None,
    cu_seqlens: Tensor | None = None,
) -> Tensor:
    """o_BTHV: the gated delta rule with log decay g_BTHK <= 0, one for each key channel; k as in `delta_rule`."""
    return _sequence("kda", (q, k, v, g, beta), scale=scale, cu_seqlens=cu_seqlens).out


def dplr_delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    a: Tensor,
    b: Tensor,
    g: Tensor,
    *,
    scale: float | None = None,
    cu_seqlens: Tensor | None = None,
) -> Tensor:
    """o_BTHV: S_t = (diag(exp(g)) + b a^T) S_(t-1) + k v^T with a, b, g_BTHK, g <= 0: RWKV-7's memory."""
    return _sequence("dplr_delta_rule", (q, k, v, a, b, g), scale=scale, cu_seqlens=cu_seqlens).out


def causal_conv(x: Tensor, weight: Tensor, *, cu_seqlens: Tensor | None = None) -> Tensor:
    """y_BTD: depthwise causal FIR filter of x_BTD with weight_DW; weight[:, -1] multiplies the current step."""
    return _convolution(x, weight, cu_seqlens=cu_seqlens).out


def rms_norm_gated(x: Tensor, gate: Tensor, weight: Tensor, *, eps: float = 1e-5, activation: str = "swish") -> Tensor:
    """x / rms(x) * weight * act(gate) over the last dimension; x and gate of one shape, act is swish or sigmoid."""
    checks.gated_norm(x, gate, weight, eps)
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation is {activation!r}; use one of {', '.join(ACTIVATIONS)}")
    form = GATED_NORM[choose(x, GATED_NORM)]
    with full_precision(x):
        return form(x, gate, weight, eps=eps, activation=activation)


def two_scale_fir(x: Tensor, short: Tensor, long: Tensor, *, cu_seqlens: Tensor | None = None) -> TwoScale:
    """(short, long), each y_BTD: two filters of one x_BTD as in `causal_conv`, short_DS and long_DW."""
    return _two_scale(x, short, long, cu_seqlens=cu_seqlens)[0]


def path_fusion(
    paths: Sequence[Tensor],
    logits: Tensor,
    *,
    gate: str = "softmax",
    temperature: float | Tensor = 1.0,
    floor: float | Tensor = 0.0,
    groups: Sequence[int] = (),
) -> Tensor:
    """o_BTHV: paths [B, T, H, V] weighted by gates made from logits_BTHL; what the options mean: `path_weights`."""
    _path_fusion.check(paths, logits, gate=gate, temperature=temperature, floor=floor, groups=groups)
    form = PATH_FUSION[choose(paths[0], PATH_FUSION)]
    with full_precision(logits):
        return form(paths, logits, gate=gate, temperature=temperature, floor=floor, groups=groups)


def fuse_paths(paths: Sequence[Tensor], weights: Tensor) -> Tensor:
    """o_BTHV: sum over p of weights_BTHP[..., p] * paths[p], each path [B, T, H, V]."""
    checks.paths(paths)
    checks.floating("weights", weights, "[B, T, H, P]")
    if weights.shape != (*paths[0].shape[:3], len(paths)):
        wanted = [*paths[0].shape[:3], len(paths)]
        raise ValueError(f"weights has shape {checks.shape(weights)}; for {len(paths)} paths it has to be {wanted}")
    form = PATH_SUM[choose(paths[0], PATH_SUM)]
    with full_precision(weights):
        return form(paths, weights)


def with_state(
    operator: Callable[..., OutT], *inputs: Tensor, state: Tensor | None = None, **options: Any
) -> Continued[OutT]:
    """`operator(*inputs, **options)` continued from `state` (None: from the start), and the state behind it.

    For the operators of this module that carry one: all but the norm and the fusion of paths.

    Raises:
        ValueError: the operator has no state, or the state is of another shape or of integers.
    """
    name = getattr(operator, "__name__", str(operator))
    if _STATEFUL.get(name) is not operator:
        raise ValueError(f"{name} carries no state; those that do are {', '.join(_STATEFUL)}")
    given = inspect.signature(operator).bind(*inputs, **options)
    tensors = tuple(given.arguments.pop(key) for key in inspect.signature(operator).parameters if key in _TENSORS)
    settings = given.arguments
    answer: Any
    if name == "causal_conv":
        answer = _convolution(*tensors, **settings, state=state, final=True)
    elif name == "two_scale_fir":
        answer = _two_scale(*tensors, **settings, state=state, final=True)
    else:
        answer = _sequence(name, tensors, **settings, state=state, final=True)
    return Continued(answer[0], answer[1])


_STATEFUL: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        linear_attn,
        retention,
        simple_gla,
        gla,
        delta_rule,
        gated_delta_rule,
        kda,
        dplr_delta_rule,
        causal_conv,
        two_scale_fir,
    )
}
_TENSORS = ("q", "k", "v", "a", "b", "g", "beta", "x", "weight", "short", "long")
# What stands behind q, k, v, in order: a name, and whether it has a channel for each key channel.
_GATES = {
    "linear_attn": (),
    "retention": (),
    "simple_gla": (("g", False),),
    "gla": (("g", True),),
    "delta_rule": (("beta", False),),
    "gated_delta_rule": (("g", False), ("beta", False)),
    "kda": (("g", True), ("beta", False)),
    "dplr_delta_rule": (("a", True), ("b", True), ("g", True)),
}


class _Answer(NamedTuple):
    out: Tensor
    state: Any  # a Tensor where it was asked for


def _sequence(
    operator: str,
    tensors: tuple[Tensor, ...],
    *,
    scale: float | None = None,
    cu_seqlens: Tensor | None = None,
    normalize: bool = False,
    state: Tensor | None = None,
    final: bool = False,
) -> _Answer:
    q, k, v, *gates = tensors
    checks.sequence(q, k, v)
    for (name, channels), gate in zip(_GATES[operator], gates, strict=True):
        checks.gate(name, gate, k.shape if channels else k.shape[:3], "BTHK" if channels else "BTH")
    if normalize:
        v = with_normaliser(v)
    checks.continued(q, cu_seqlens, state, (q.shape[2], q.shape[3], v.shape[3]))
    out, last = run_sequence(operator, (q, k, v, *gates), scale=scale, cu_seqlens=cu_seqlens, state=state, final=final)
    return _Answer(normalised(out) if normalize else out, last)


def _convolution(
    x: Tensor,
    weight: Tensor,
    *,
    cu_seqlens: Tensor | None = None,
    state: Tensor | None = None,
    final: bool = False,
) -> _Answer:
    checks.filtered("causal_conv", x, {"weight": weight})
    checks.continued(x, cu_seqlens, state, (weight.shape[1] - 1, x.shape[2]))
    return _Answer(*run_convolution(x, weight, cu_seqlens=cu_seqlens, state=state, final=final))


def _two_scale(
    x: Tensor,
    short: Tensor,
    long: Tensor,
    *,
    cu_seqlens: Tensor | None = None,
    state: Tensor | None = None,
    final: bool = False,
) -> tuple[TwoScale, Tensor | None]:
    checks.filtered("two_scale_fir", x, {"short": short, "long": long})
    checks.continued(x, cu_seqlens, state, (num_state_steps(short, long), x.shape[2]))
    return run_two_scale(x, short, long, cu_seqlens=cu_seqlens, state=state, final=final)
