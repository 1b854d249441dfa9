"""The generalised delta rule of RWKV-7, a transition that is diagonal plus low rank: definition and chunked form.

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
    a: Tensor,
    b: Tensor,
    g: Tensor,
    *,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
) -> Result:
    """S_t = (diag(exp(g_t)) + b_t a_t^T) S_(t-1) + k_t v_t^T, o_t = S_t^T q_t.

    g_BTHK is the log decay of each key channel and step, at most 0. a_BTHK reads what is erased, b_BTHK says where;
    with a = -kappa of norm 1 and b = kappa * rate, rates in [0, 1], the state stays bounded.

    Source: Peng et al. 2025, "RWKV-7 Goose with Expressive Dynamic State Evolution" (arXiv 2503.14456), section 3.
    """
    dtype = state_dtype(v)
    q, k, v, out_dtype = scaled(q, scale).to(dtype), k.to(dtype), v.to(dtype), v.dtype
    a, b, decay_BTHK = a.to(dtype), b.to(dtype), g.to(dtype).exp()
    state_BHKV = first_state(k, v, initial_state)
    steps: list[Tensor] = []
    for t in range(q.shape[1]):
        correction_BHKV = outer(b[:, t], read(state_BHKV, a[:, t]))
        state_BHKV = decay_BTHK[:, t].unsqueeze(-1) * state_BHKV + correction_BHKV + outer(k[:, t], v[:, t])
        steps.append(read(state_BHKV, q[:, t]))
    return torch.stack(steps, 1).to(out_dtype), state_BHKV if output_final_state else None


def chunkwise(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    a: Tensor,
    b: Tensor,
    g: Tensor,
    *,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
) -> Result:
    """The recurrence in chunks: what a reads solves a triangular system, what it corrects is one more set of values."""
    chunks = Chunks(v, _LENGTH, initial_state, output_final_state)
    q_YCK, k_YCK, v_YCV = chunks.split(scaled(q, scale)), chunks.split(k), chunks.split(v)
    a_YCK, b_YCK = chunks.split(a), chunks.split(b)
    g_YCK = log_decays(chunks, g)
    total_YCK = g_YCK.cumsum(1)
    before_YCK = torch.cat([torch.zeros_like(total_YCK[:, :1]), total_YCK[:, :-1]], 1)  # a reads ahead of the decay
    keys_YJCK = torch.stack([b_YCK, k_YCK], 1)
    own_YCJ = torch.stack([(q_YCK * b_YCK).sum(-1), (q_YCK * k_YCK).sum(-1)], -1)
    scores_YIJCC = overlaps(
        torch.stack([q_YCK, a_YCK], 1),
        keys_YJCK,
        g_YCK,
        torch.stack([own_YCJ, torch.zeros_like(own_YCJ)], 2),
        num_ahead=1,
    )
    (query_b_YCC, query_k_YCC), (a_b_YCC, a_k_YCC) = (kind.unbind(1) for kind in scores_YIJCC.unbind(1))
    read_YCX = torch.cat([torch.bmm(a_k_YCC, v_YCV), before_YCK.exp() * a_YCK], -1)
    solved_YCX = solve(-a_b_YCC, read_YCX)
    # The chunk writes b (U + E S) and k v: one read of [b, k] against [U, v] and [E, 0].
    scores_YCX = torch.cat([query_b_YCC, query_k_YCC], -1)
    written_YXX = torch.cat([solved_YCX, torch.nn.functional.pad(v_YCV, (0, k.shape[-1]))], 1)
    ends_YCK = to_the_end(g_YCK)
    out, final = read_corrections(
        chunks,
        scores_YCX,
        written_YXX,
        queries_YCK=total_YCK.exp() * q_YCK,
        kept_YCK=torch.cat([b_YCK * ends_YCK, k_YCK * ends_YCK], 1),
        decay_Y1X=total_YCK[:, -1:].exp(),
    )
    return out.to(v.dtype), final
