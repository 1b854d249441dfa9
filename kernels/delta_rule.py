"""The delta rule without decay: definition and chunked form. Shapes as in `kernels.recurrence`, `kernels.chunks`."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels import gated_delta_rule
from kernels.chunks import Chunks, read_corrections
from kernels.decays import solve
from kernels.recurrence import Result, scaled


def recurrence(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    *,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
) -> Result:
    """S_t = S_(t-1) (I - beta_t k_t k_t^T) + beta_t v_t k_t^T, o_t = S_t q_t; beta and keys as in `gated_delta_rule`.

    Source: Schlag et al. 2021, "Linear Transformers Are Secretly Fast Weight Programmers" (arXiv 2102.11174),
    section 4.2; Yang et al. 2024, "Parallelizing Linear Transformers with the Delta Rule over Sequence Length"
    (arXiv 2406.06484), section 2.2.
    """
    return gated_delta_rule.recurrence(
        q,
        k,
        v,
        torch.zeros_like(beta),
        beta,
        scale=scale,
        initial_state=initial_state,
        output_final_state=output_final_state,
    )


def chunkwise(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    *,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
) -> Result:
    """The recurrence in chunks."""
    chunks = Chunks(v, gated_delta_rule.length_for(k), initial_state, output_final_state)
    q_YCK, k_YCK, v_YCV = chunks.split(scaled(q, scale)), chunks.split(k), chunks.split(v)
    beta_YC1 = chunks.split(beta.unsqueeze(-1))
    written_YCK = beta_YC1 * k_YCK
    solved_YCX = solve(torch.bmm(written_YCK, k_YCK.mT), torch.cat([beta_YC1 * v_YCV, -written_YCK], -1))
    scores_YCC = torch.bmm(q_YCK, k_YCK.mT).tril()
    out, final = read_corrections(chunks, scores_YCC, solved_YCX, queries_YCK=q_YCK, kept_YCK=k_YCK)
    return out.to(v.dtype), final
