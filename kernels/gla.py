"""Gated linear attention, a decay per key channel: definition and chunked form.

Shapes as in `kernels.recurrence` and `kernels.chunks`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.chunks import Chunks, read_sums
from kernels.decays import log_decays, overlaps, to_the_end
from kernels.recurrence import Result, first_state, outer, read, scaled, state_dtype

_LENGTH = 16  # a power of two


def recurrence(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    *,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
) -> Result:
    """S_t = diag(exp(g_t)) S_(t-1) + k_t v_t^T, o_t = S_t^T q_t; g_BTHK is the log decay of each key channel and step.

    Source: Yang et al. 2023, "Gated Linear Attention Transformers with Hardware-Efficient Training"
    (arXiv 2312.06635), section 4.1: S_t = (alpha_t^T 1) * S_(t-1) + k_t^T v_t.
    """
    dtype = state_dtype(v)
    q, k, v, out_dtype = scaled(q, scale).to(dtype), k.to(dtype), v.to(dtype), v.dtype
    decay_BTHK = g.to(dtype).exp()
    state_BHKV = first_state(k, v, initial_state)
    steps: list[Tensor] = []
    for t in range(q.shape[1]):
        state_BHKV = decay_BTHK[:, t].unsqueeze(-1) * state_BHKV + outer(k[:, t], v[:, t])
        steps.append(read(state_BHKV, q[:, t]))
    return torch.stack(steps, 1).to(out_dtype), state_BHKV if output_final_state else None


def chunkwise(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    *,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
) -> Result:
    """The recurrence in chunks."""
    chunks = Chunks(v, _LENGTH, initial_state, output_final_state)
    q_YCK, k_YCK, v_YCV = chunks.split(scaled(q, scale)), chunks.split(k), chunks.split(v)
    g_YCK = log_decays(chunks, g)
    since_start_YCK = g_YCK.cumsum(1).exp()
    diagonal_YC11 = (q_YCK * k_YCK).sum(-1)[..., None, None]
    scores = overlaps(q_YCK.unsqueeze(1), k_YCK.unsqueeze(1), g_YCK, diagonal_YC11)
    out, final = read_sums(
        chunks,
        scores.flatten(0, 2),
        v_YCV,
        queries_YCK=q_YCK * since_start_YCK,
        kept_YCK=k_YCK * to_the_end(g_YCK),
        decay_Y1X=since_start_YCK[:, -1:],
    )
    return out.to(v.dtype), final
