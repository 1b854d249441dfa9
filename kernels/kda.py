"""Kimi Delta Attention's memory, a delta rule with a decay per key channel: definition and chunked form.

Shapes as in `kernels.recurrence` and `kernels.chunks`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.chunks import Chunks, read_corrections
from kernels.decays import log_decays, overlaps, solve, to_the_end
from kernels.recurrence import Result, first_state, outer, read, scaled, state_dtype

_LENGTH = 16  # a power of two


def recurrence(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    *,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
) -> Result:
    """S_t = (I - beta_t k_t k_t^T) diag(exp(g_t)) S_(t-1) + beta_t k_t v_t^T, o_t = S_t^T q_t.

    g_BTHK is the log decay of each key channel and step, at most 0; beta and keys as in `gated_delta_rule`.

    Source: Kimi Team 2025, "Kimi Linear: An Expressive, Efficient Attention Architecture" (arXiv 2510.26692),
    section 3.
    """
    dtype = state_dtype(v)
    q, k, v, out_dtype = scaled(q, scale).to(dtype), k.to(dtype), v.to(dtype), v.dtype
    decay_BTHK, beta_BTH = g.to(dtype).exp(), beta.to(dtype)
    state_BHKV = first_state(k, v, initial_state)
    steps: list[Tensor] = []
    for t in range(q.shape[1]):
        state_BHKV = decay_BTHK[:, t].unsqueeze(-1) * state_BHKV
        error_BHV = v[:, t] - read(state_BHKV, k[:, t])
        state_BHKV = state_BHKV + outer(k[:, t], beta_BTH[:, t].unsqueeze(-1) * error_BHV)
        steps.append(read(state_BHKV, q[:, t]))
    return torch.stack(steps, 1).to(out_dtype), state_BHKV if output_final_state else None


def chunkwise(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    *,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
) -> Result:
    """The recurrence in chunks: queries and written keys both read the keys before them."""
    chunks = Chunks(v, _LENGTH, initial_state, output_final_state)
    q_YCK, k_YCK, v_YCV = chunks.split(scaled(q, scale)), chunks.split(k), chunks.split(v)
    beta_YC1 = chunks.split(beta.unsqueeze(-1))
    g_YCK = log_decays(chunks, g)
    since_start_YCK = g_YCK.cumsum(1).exp()
    written_YCK = beta_YC1 * k_YCK
    own_YC = (q_YCK * k_YCK).sum(-1)
    scores_YICC = overlaps(
        torch.stack([q_YCK, written_YCK], 1),
        k_YCK.unsqueeze(1),
        g_YCK,
        torch.stack([own_YC, torch.zeros_like(own_YC)], -1).unsqueeze(-1),
    ).squeeze(2)
    reads_YCC, overlap_YCC = scores_YICC.unbind(1)
    solved_YCX = solve(overlap_YCC, torch.cat([beta_YC1 * v_YCV, -since_start_YCK * written_YCK], -1))
    out, final = read_corrections(
        chunks,
        reads_YCC,
        solved_YCX,
        queries_YCK=since_start_YCK * q_YCK,
        kept_YCK=k_YCK * to_the_end(g_YCK),
        decay_Y1X=since_start_YCK[:, -1:],
    )
    return out.to(v.dtype), final
