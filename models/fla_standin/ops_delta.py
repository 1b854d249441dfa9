"""fla.ops: delta_rule, gated_delta_rule, kda, under fla's names, arguments and layouts.

Everything answers with (o, final state), the state None unless `output_final_state`. Layout [B, T, H, K | V]; v may
have more heads than q and k; scale None means K**-0.5; g are log decays, at most 0. chunk and fused_recurrent compute
the same thing here. float32 is accepted where fla's kernels insist on bfloat16. Not there: context parallelism.

Slow, since step by step: beta or decays for each value channel.

Sources: Yang et al. 2024 (arXiv 2406.06484), Yang et al. 2024 (arXiv 2412.06464), Kimi Linear (arXiv 2510.26692).
"""

from __future__ import annotations

from typing import Any, NoReturn

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from models.fla_standin.norms import l2norm
from models.fla_standin.ops_decay import Result, refuse_attentions, v_first_of
from models.fla_standin.recurrence import Steps, run, state_dtype


def chunk_delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    cu_seqlens: Tensor | None = None,
    cu_seqlens_cpu: Tensor | None = None,
    **kwargs: Any,
) -> Result:
    """S_t = S_(t-1) (I - beta k k^T) + beta v k^T with beta [B, T, H]."""
    v_first_of(False, kwargs)
    return fused_recurrent_delta_rule(
        q, k, v, beta, scale, initial_state, output_final_state, use_qk_l2norm_in_kernel, cu_seqlens
    )


def fused_recurrent_delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor | None = None,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    cu_seqlens: Tensor | None = None,
) -> Result:
    """`chunk_delta_rule`; beta may be missing (1) or [B, T, H, V]."""
    return run(
        _steps(q, k, v, None, beta, use_qk_l2norm_in_kernel),
        scale=scale,
        initial_state=initial_state,
        output_final_state=output_final_state,
        cu_seqlens=cu_seqlens,
    )


def parallel_delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    scale: float | None = None,
    output_attentions: bool = False,
    **kwargs: Any,
) -> Result:
    """`chunk_delta_rule` without states; (o, None)."""
    refuse_attentions(output_attentions)
    return chunk_delta_rule(q, k, v, beta, scale, **kwargs)


def fused_chunk_delta_rule(*args: Any, **kwargs: Any) -> NoReturn:
    """fla 0.5 dropped it and raises; so does this, lest a mixer pass here that fails on a GPU."""
    raise NotImplementedError("fla 0.5 has no fused_chunk_delta_rule any more: use chunk_delta_rule")


def chunk_gated_delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    use_beta_sigmoid_in_kernel: bool = False,
    allow_neg_eigval: bool = False,
    state_v_first: bool = False,
    cu_seqlens: Tensor | None = None,
    cu_seqlens_cpu: Tensor | None = None,
    cp_context: object | None = None,
    **kwargs: Any,
) -> Result:
    """S_t = exp(g) S_(t-1) (I - beta k k^T) + beta v k^T with g, beta [B, T, H].

    Keyword `use_gate_in_kernel` takes g before its activation, `A_log` [H] and `dt_bias` [H]: see `fused_gdn_gate`.
    """
    if cp_context is not None:
        raise NotImplementedError("cp_context is for several devices; the stand-in has one: drop it")
    return fused_recurrent_gated_delta_rule(
        q,
        k,
        v,
        g,
        beta=beta,
        scale=scale,
        initial_state=initial_state,
        output_final_state=output_final_state,
        use_qk_l2norm_in_kernel=use_qk_l2norm_in_kernel,
        use_beta_sigmoid_in_kernel=use_beta_sigmoid_in_kernel,
        allow_neg_eigval=allow_neg_eigval,
        state_v_first=state_v_first,
        cu_seqlens=cu_seqlens,
        **kwargs,
    )


def fused_recurrent_gated_delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None = None,
    gk: Tensor | None = None,
    gv: Tensor | None = None,
    beta: Tensor | None = None,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    use_gate_in_kernel: bool = False,
    A_log: Tensor | None = None,
    dt_bias: Tensor | None = None,
    use_beta_sigmoid_in_kernel: bool = False,
    allow_neg_eigval: bool = False,
    state_v_first: bool = False,
    cu_seqlens: Tensor | None = None,
    **kwargs: Any,
) -> Result:
    """`chunk_gated_delta_rule`, also with decays of key (gk) and value (gv) channels, which run step by step."""
    if use_gate_in_kernel:
        if g is None or A_log is None:
            raise ValueError("use_gate_in_kernel=True needs g (before its activation) and A_log [H]: give both")
        g = _log_decay(g, A_log, dt_bias)
    decay = g
    if gk is not None:
        decay = gk if g is None else gk + g.unsqueeze(-1)
    return run(
        _steps(
            q, k, v, decay, _strength(beta, use_beta_sigmoid_in_kernel, allow_neg_eigval), use_qk_l2norm_in_kernel, gv
        ),
        scale=scale,
        initial_state=initial_state,
        output_final_state=output_final_state,
        state_v_first=v_first_of(state_v_first, kwargs),
        cu_seqlens=cu_seqlens,
    )


def fused_gdn_gate(
    g: Tensor, A_log: Tensor, dt_bias: Tensor | None = None, output_dtype: torch.dtype = torch.float32
) -> Tensor:
    """Log decay -exp(A_log) * softplus(g + dt_bias) of the gated delta rule, for g [..., H]."""
    return _log_decay(g, A_log, dt_bias).to(output_dtype)


def chunk_kda(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    use_gate_in_kernel: bool = False,
    use_beta_sigmoid_in_kernel: bool = False,
    allow_neg_eigval: bool = False,
    safe_gate: bool = False,
    lower_bound: float | None = None,
    disable_recompute: bool = False,
    return_intermediate_states: bool = False,
    state_v_first: bool = False,
    cu_seqlens: Tensor | None = None,
    cu_seqlens_cpu: Tensor | None = None,
    cp_context: object | None = None,
    **kwargs: Any,
) -> Result:
    """The gated delta rule with a decay for each key channel, g [B, T, H, K]: step by step, slow."""
    if cp_context is not None or return_intermediate_states:
        raise NotImplementedError("the stand-in's kda has neither cp_context nor return_intermediate_states: drop them")
    if use_gate_in_kernel:
        if "A_log" not in kwargs:
            raise ValueError("use_gate_in_kernel=True needs A_log [H]: give it")
        g = fused_kda_gate(g, kwargs["A_log"], kwargs.get("dt_bias"), lower_bound, state_dtype(v, g))
    return run(
        _steps(q, k, v, g, _strength(beta, use_beta_sigmoid_in_kernel, allow_neg_eigval), use_qk_l2norm_in_kernel),
        scale=scale,
        initial_state=initial_state,
        output_final_state=output_final_state,
        state_v_first=v_first_of(state_v_first, kwargs),
        cu_seqlens=cu_seqlens,
    )


def fused_recurrent_kda(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    A_log: Tensor | None = None,
    dt_bias: Tensor | None = None,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    use_gate_in_kernel: bool = False,
    use_beta_sigmoid_in_kernel: bool = False,
    allow_neg_eigval: bool = False,
    lower_bound: float | None = None,
    state_v_first: bool = False,
    cu_seqlens: Tensor | None = None,
    **kwargs: Any,
) -> Result:
    """`chunk_kda`."""
    if A_log is not None:
        kwargs.update(A_log=A_log, dt_bias=dt_bias)
    return chunk_kda(
        q,
        k,
        v,
        g,
        beta,
        scale=scale,
        initial_state=initial_state,
        output_final_state=output_final_state,
        use_qk_l2norm_in_kernel=use_qk_l2norm_in_kernel,
        use_gate_in_kernel=use_gate_in_kernel,
        use_beta_sigmoid_in_kernel=use_beta_sigmoid_in_kernel,
        allow_neg_eigval=allow_neg_eigval,
        lower_bound=lower_bound,
        state_v_first=state_v_first,
        cu_seqlens=cu_seqlens,
        **kwargs,
    )


def fused_kda_gate(
    g: Tensor,
    A_log: Tensor,
    dt_bias: Tensor | None = None,
    lower_bound: float | None = None,
    output_dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Log decay of kda for g [..., H, K]: as `fused_gdn_gate`, or lower_bound * sigmoid(exp(A_log) * (g + dt_bias))."""
    dtype = state_dtype(g)
    rate_H1 = A_log.reshape(-1, 1).to(dtype).exp()
    g = g.to(dtype)
    if dt_bias is not None:
        g = g + dt_bias.reshape(g.shape[-2:]).to(dtype)
    decay = -rate_H1 * F.softplus(g) if lower_bound is None else lower_bound * torch.sigmoid(rate_H1 * g)
    return decay.to(output_dtype)


def _steps(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    decay: Tensor | None,
    beta: Tensor | None,
    unit_norm: bool,
    value_decay: Tensor | None = None,
) -> Steps:
    if unit_norm:
        q, k = l2norm(q), l2norm(k)
    if beta is None:
        beta = torch.ones_like(v[..., 0])
    return Steps(q=q, k=k, v=v, decay=decay, value_decay=value_decay, beta=beta)


def _strength(beta: Tensor | None, use_sigmoid: bool, allow_neg_eigval: bool) -> Tensor | None:
    if allow_neg_eigval and not use_sigmoid:
        raise ValueError(
            "allow_neg_eigval=True needs use_beta_sigmoid_in_kernel=True: set both, or double beta yourself"
        )
    if beta is None or not use_sigmoid:
        return beta
    strength = beta.to(state_dtype(beta)).sigmoid()
    return 2 * strength if allow_neg_eigval else strength


def _log_decay(g: Tensor, A_log: Tensor, dt_bias: Tensor | None) -> Tensor:
    dtype = state_dtype(g)
    raw = g.to(dtype) if dt_bias is None else g.to(dtype) + dt_bias.to(dtype)
    return -A_log.to(dtype).exp() * F.softplus(raw)
