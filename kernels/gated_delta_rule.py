"""The delta rule, with and without a decay per head: definitions and chunked forms.

Shapes as in `kernels.recurrence` and `kernels.chunks`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.chunks import Chunks, read_corrections
from kernels.decays import decay_within, log_decays, solve, to_the_end
from kernels.recurrence import Result, first_state, outer, read, scaled, state_dtype


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
    """S_t = exp(g_t) S_(t-1) (I - beta_t k_t k_t^T) + beta_t v_t k_t^T, o_t = S_t q_t.

    g_BTH is the log decay of each head and step, at most 0. beta_BTH is the writing strength, in [0, 1] (up to 2 allows
    negative eigenvalues); keys should have norm 1, or the state can grow without bound.

    Source: Yang et al. 2024, "Gated Delta Networks: Improving Mamba2 with Delta Rule" (arXiv 2412.06464), section 3.1.
    """
    dtype = state_dtype(v)
    q, k, v, out_dtype = scaled(q, scale).to(dtype), k.to(dtype), v.to(dtype), v.dtype
    decay_BTH, beta_BTH = g.to(dtype).exp(), beta.to(dtype)
    state_BHKV = first_state(k, v, initial_state)
    steps: list[Tensor] = []
    for t in range(q.shape[1]):
        state_BHKV = decay_BTH[:, t, :, None, None] * state_BHKV
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
    """The recurrence in chunks."""
    chunks = Chunks(v, length_for(k), initial_state, output_final_state)
    q_YCK, k_YCK, v_YCV = chunks.split(scaled(q, scale)), chunks.split(k), chunks.split(v)
    beta_YC1 = chunks.split(beta.unsqueeze(-1))
    g_YC1 = log_decays(chunks, g.unsqueeze(-1))
    decay_YCC, since_start_YC1 = decay_within(g_YC1.squeeze(-1)), g_YC1.cumsum(1).exp()
    written_YCK = beta_YC1 * k_YCK
    solved_YCX = solve(
        torch.bmm(written_YCK, k_YCK.mT) * decay_YCC, torch.cat([beta_YC1 * v_YCV, -since_start_YC1 * written_YCK], -1)
    )
    out, final = read_corrections(
        chunks,
        torch.bmm(q_YCK, k_YCK.mT) * decay_YCC,
        solved_YCX,
        queries_YCK=since_start_YC1 * q_YCK,
        kept_YCK=k_YCK * to_the_end(g_YC1),
        decay_Y1X=since_start_YC1[:, -1:],
    )
    return out.to(v.dtype), final


def length_for(k_BTHK: Tensor) -> int:
    """Steps in a chunk."""
    return 16 if k_BTHK.shape[-1] <= 16 else 32
