"""Linear attention with one decay per head: definition and chunked form.

Retention, whose decays are fixed, is this with `retention_decay`. Shapes as in `kernels.recurrence`, `kernels.chunks`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kernels import gla
from kernels.chunks import Chunks, read_sums
from kernels.decays import decay_within, log_decays, to_the_end
from kernels.recurrence import Result, scaled

_LENGTH = 32


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
    """S_t = exp(g_t) S_(t-1) + k_t v_t^T, o_t = S_t^T q_t; g_BTH is the log decay of each head and step, at most 0.

    Source: Dao and Gu 2024, "Transformers are SSMs" (arXiv 2405.21060): h_t = a_t h_(t-1) + B_t x_t, y_t = C_t^T h_t
    with a scalar a_t.
    """
    channels = g.unsqueeze(-1).expand(*g.shape, k.shape[-1])
    return gla.recurrence(
        q, k, v, channels, scale=scale, initial_state=initial_state, output_final_state=output_final_state
    )


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
    g_YC1 = log_decays(chunks, g.unsqueeze(-1))
    since_start_YC1 = g_YC1.cumsum(1).exp()
    out, final = read_sums(
        chunks,
        torch.bmm(q_YCK, k_YCK.mT) * decay_within(g_YC1.squeeze(-1)),
        v_YCV,
        queries_YCK=q_YCK * since_start_YC1,
        kept_YCK=k_YCK * to_the_end(g_YC1),
        decay_Y1X=since_start_YC1[:, -1:],
    )
    return out.to(v.dtype), final


def retention_decay(like_BTHX: Tensor) -> Tensor:
    """g_BTH of retention: gamma_h = 1 - 2^(-5-h), the same at every step.

    Source: Sun et al. 2023, "Retentive Network" (arXiv 2307.08621), sections 2.1 (recurrent representation) and 2.2
    (gamma per head). The rotation of q and k (xPos) that RetNet adds is left to the caller.
    """
    heads = torch.arange(like_BTHX.shape[2], dtype=torch.float64, device=like_BTHX.device)
    g_H = torch.log1p(-torch.exp2(-5 - heads))
    return g_H.to(torch.float64 if like_BTHX.dtype == torch.float64 else torch.float32).expand(like_BTHX.shape[:3])
