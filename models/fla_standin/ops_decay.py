"""fla.ops: linear_attn, retention, simple_gla, gla, hgrn, under fla's names, arguments and layouts.

Everything answers with (o, final state), the state None unless `output_final_state`. Layout [B, T, H, K | V]; scale
None means K**-0.5; decays are logs, at most 0. chunk, fused_chunk, fused_recurrent and parallel forms compute the same
thing here. Not there: T x T attention weights (`output_attentions`), context parallelism.

Sources: Katharopoulos et al. 2020 (arXiv 2006.16236), Sun et al. 2023 (arXiv 2307.08621), Dao and Gu 2024 (arXiv
2405.21060), Yang et al. 2023 (arXiv 2312.06635), Qin et al. 2023 (arXiv 2311.04823).
"""

from __future__ import annotations

from typing import Any, NoReturn

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from kernels.packing import Packing
from models.fla_standin.recurrence import Steps, run, state_dtype

Result = tuple[Tensor, Tensor | None]
NormalisedState = Tensor | tuple[Tensor | None, Tensor] | None

_NORMALISER_FLOOR = 1e-10


def chunk_simple_gla(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None = None,
    g_gamma: Tensor | None = None,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    state_v_first: bool = False,
    cu_seqlens: Tensor | None = None,
    cu_seqlens_cpu: Tensor | None = None,
    **kwargs: Any,
) -> Result:
    """Linear attention with a decay per head: g [B, T, H] from the data, or g_gamma [H] for all steps, or none."""
    return run(
        Steps(q=q, k=k, v=v, decay=_head_decay(q, v, g, g_gamma)),
        scale=scale,
        initial_state=initial_state,
        output_final_state=output_final_state,
        state_v_first=v_first_of(state_v_first, kwargs),
        cu_seqlens=cu_seqlens,
    )


def fused_chunk_simple_gla(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None = None,
    g_gamma: Tensor | None = None,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    cu_seqlens: Tensor | None = None,
) -> Result:
    """`chunk_simple_gla`."""
    return chunk_simple_gla(q, k, v, g, g_gamma, scale, initial_state, output_final_state, cu_seqlens=cu_seqlens)


def fused_recurrent_simple_gla(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None = None,
    g_gamma: Tensor | None = None,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    reverse: bool = False,
    state_v_first: bool = False,
    cu_seqlens: Tensor | None = None,
    **kwargs: Any,
) -> Result:
    """`chunk_simple_gla`, backwards in time if `reverse`."""
    return run(
        Steps(q=q, k=k, v=v, decay=_head_decay(q, v, g, g_gamma)),
        scale=scale,
        initial_state=initial_state,
        output_final_state=output_final_state,
        state_v_first=v_first_of(state_v_first, kwargs),
        reverse=reverse,
        cu_seqlens=cu_seqlens,
    )


def parallel_simple_gla(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None = None,
    scale: float | None = None,
    output_attentions: bool = False,
    cu_seqlens: Tensor | None = None,
    cu_seqlens_cpu: Tensor | None = None,
    **kwargs: Any,
) -> Result:
    """`chunk_simple_gla` without states; (o, None)."""
    refuse_attentions(output_attentions)
    return chunk_simple_gla(q, k, v, g, scale=scale, cu_seqlens=cu_seqlens, **kwargs)


def chunk_retention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    cu_seqlens: Tensor | None = None,
    **kwargs: Any,
) -> Result:
    """Linear attention whose head h of H decays by 1 - 2^(-5-h) a step."""
    return chunk_simple_gla(
        q,
        k,
        v,
        g_gamma=_retention_decay(q),
        scale=scale,
        initial_state=initial_state,
        output_final_state=output_final_state,
        cu_seqlens=cu_seqlens,
        **kwargs,
    )


fused_chunk_retention = chunk_retention


def fused_recurrent_retention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    reverse: bool = False,
    state_v_first: bool = False,
    cu_seqlens: Tensor | None = None,
    **kwargs: Any,
) -> Result:
    """`chunk_retention`, backwards in time if `reverse`."""
    return fused_recurrent_simple_gla(
        q,
        k,
        v,
        g_gamma=_retention_decay(q),
        scale=scale,
        initial_state=initial_state,
        output_final_state=output_final_state,
        reverse=reverse,
        state_v_first=state_v_first,
        cu_seqlens=cu_seqlens,
        **kwargs,
    )


def parallel_retention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float | None = None,
    output_attentions: bool = False,
    cu_seqlens: Tensor | None = None,
    **kwargs: Any,
) -> Result:
    """`chunk_retention` without states; (o, None)."""
    refuse_attentions(output_attentions)
    return chunk_retention(q, k, v, scale=scale, cu_seqlens=cu_seqlens, **kwargs)


def chunk_linear_attn(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float | None = None,
    initial_state: NormalisedState = None,
    output_final_state: bool = False,
    normalize: bool = True,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, NormalisedState]:
    """Linear attention; `normalize` (here the default) divides by scale * q_t . sum k_s + 1e-10.

    With `normalize` the state is (S, sum of keys [B, 1, H, K]), also handed back when only S was not asked for.
    """
    return fused_recurrent_linear_attn(
        q, k, v, scale, initial_state, output_final_state, normalize=normalize, cu_seqlens=cu_seqlens
    )


fused_chunk_linear_attn = chunk_linear_attn


def fused_recurrent_linear_attn(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float | None = None,
    initial_state: NormalisedState = None,
    output_final_state: bool = False,
    reverse: bool = False,
    normalize: bool = False,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, NormalisedState]:
    """`chunk_linear_attn`, not normalised unless asked, backwards in time if `reverse`."""
    state, keys = initial_state if isinstance(initial_state, tuple) else (initial_state, None)
    out, final = run(
        Steps(q=q, k=k, v=v),
        scale=scale,
        initial_state=state,
        output_final_state=output_final_state,
        reverse=reverse,
        cu_seqlens=cu_seqlens,
    )
    if not normalize:
        return out, final
    normaliser_BTH1, keys_B1HK = _normaliser(q, k, scale, keys, reverse, cu_seqlens)
    return (out.to(normaliser_BTH1.dtype) / normaliser_BTH1).to(out.dtype), (final, keys_B1HK)


def chunk_gla(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    state_v_first: bool = False,
    cu_seqlens: Tensor | None = None,
    cu_seqlens_cpu: Tensor | None = None,
) -> Result:
    """Linear attention with a decay for each key channel, g [B, T, H, K]."""
    if g.shape != q.shape:
        raise ValueError(f"g has shape {list(g.shape)} and q {list(q.shape)}; both have to be the same [B, T, H, K]")
    return fused_recurrent_gla(
        q, k, v, g, None, scale, initial_state, output_final_state, False, state_v_first, cu_seqlens
    )


def fused_recurrent_gla(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    gk: Tensor | None = None,
    gv: Tensor | None = None,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    reverse: bool = False,
    state_v_first: bool = False,
    cu_seqlens: Tensor | None = None,
    **kwargs: Any,
) -> Result:
    """`chunk_gla` with decays of key channels, value channels (gv, step by step and slow), both or neither."""
    return run(
        Steps(q=q, k=k, v=v, decay=gk, value_decay=gv),
        scale=scale,
        initial_state=initial_state,
        output_final_state=output_final_state,
        state_v_first=v_first_of(state_v_first, kwargs),
        reverse=reverse,
        cu_seqlens=cu_seqlens,
    )


def fused_chunk_gla(*args: Any, **kwargs: Any) -> NoReturn:
    """fla 0.5 dropped it and raises; so does this, lest a mixer pass here that fails on a GPU."""
    raise NotImplementedError("fla 0.5 has no fused_chunk_gla any more: use chunk_gla")


def fused_recurrent_hgrn(
    x: Tensor,
    g: Tensor,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    cu_seqlens: Tensor | None = None,
) -> Result:
    """h_t = exp(g_t) h_(t-1) + x_t for each channel of x, g [B, T, D]; states [B, D]."""
    dtype = state_dtype(x, g)
    packing = None if cu_seqlens is None else Packing(cu_seqlens, x)
    value_BTD, decay_BTD = x.to(dtype), g.to(dtype)
    if packing is not None:
        value_BTD, decay_BTD = packing.unpack(value_BTD), packing.unpack(decay_BTD)
    if initial_state is not None:  # a step before the first, whose own decay meets nothing
        value_BTD = torch.cat([initial_state.to(dtype).unsqueeze(1), value_BTD], 1)
        decay_BTD = F.pad(decay_BTD, (0, 0, 1, 0))
    sum_BTD = _decayed_sum(value_BTD, decay_BTD.exp())
    final = sum_BTD[:, -1] if output_final_state else None
    out = sum_BTD if initial_state is None else sum_BTD[:, 1:]
    return (out if packing is None else packing.pack(out)).to(x.dtype), final


def chunk_hgrn(x: Tensor, g: Tensor, initial_state: Tensor | None = None, output_final_state: bool = False) -> Result:
    """`fused_recurrent_hgrn`."""
    return fused_recurrent_hgrn(x, g, initial_state, output_final_state)


def v_first_of(state_v_first: bool, kwargs: dict[str, Any]) -> bool:
    """The state's layout, also under the argument's old name; refuses arguments that fla has removed."""
    if "head_first" in kwargs:
        raise DeprecationWarning("head_first is gone from fla: give inputs as [B, T, H, ...] and drop the argument")
    return bool(state_v_first or kwargs.get("transpose_state_layout", False))


def refuse_attentions(output_attentions: bool) -> None:
    """T x T weights are what sub-quadratic mixers are to avoid."""
    if output_attentions:
        raise NotImplementedError("output_attentions=True forms a T x T matrix, which the stand-in does not: drop it")


def _decayed_sum(value_BTD: Tensor, decay_BTD: Tensor) -> Tensor:
    """h_t = decay_t h_(t-1) + value_t by doubling: after each round a step has gathered twice as many before it."""
    reach = 1
    while reach < value_BTD.shape[1]:
        before_BTD = F.pad(value_BTD[:, :-reach], (0, 0, reach, 0))
        value_BTD = value_BTD + decay_BTD * before_BTD
        decay_BTD = decay_BTD * F.pad(decay_BTD[:, :-reach], (0, 0, reach, 0))
        reach *= 2
    return value_BTD


def _head_decay(q: Tensor, v: Tensor, g: Tensor | None, g_gamma: Tensor | None) -> Tensor | None:
    if g_gamma is None:
        return g
    if g is not None:
        raise ValueError("both g and g_gamma are given; use one: g [B, T, H] from the data, or g_gamma [H]")
    return g_gamma.to(q.device).expand(*v.shape[:3])


def _retention_decay(q: Tensor) -> Tensor:
    heads = torch.arange(q.shape[2], dtype=torch.float64, device=q.device)
    return torch.log1p(-torch.exp2(-5 - heads)).to(state_dtype(q))


def _normaliser(
    q: Tensor, k: Tensor, scale: float | None, keys_B1HK: Tensor | None, reverse: bool, cu_seqlens: Tensor | None
) -> tuple[Tensor, Tensor]:
    dtype = state_dtype(q, k)
    q, summed = q.to(dtype) * (k.shape[-1] ** -0.5 if scale is None else scale), k.to(dtype)
    packing = None if cu_seqlens is None else Packing(cu_seqlens, k)
    summed = summed if packing is None else packing.unpack(summed)
    summed = summed.flip(1).cumsum(1).flip(1) if reverse else summed.cumsum(1)
    if keys_B1HK is not None:
        summed = summed + keys_B1HK.to(dtype)
    last_B1HK = summed[:, :1] if reverse else summed[:, -1:]
    summed = summed if packing is None else packing.pack(summed)
    return (q * summed).sum(-1, keepdim=True) + _NORMALISER_FLOOR, last_B1HK.contiguous()
