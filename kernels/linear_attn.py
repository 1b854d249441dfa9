"""Linear attention: definition and chunked form. Shapes as in `kernels.recurrence` and `kernels.chunks`."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from kernels.chunks import Chunks, read_sums
from kernels.recurrence import Result, first_state, outer, read, scaled, state_dtype

_LENGTH = 32  # of a chunk: here and in the other operators the fastest on one CPU core (benchmarks/operators.py)


def recurrence(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
) -> Result:
    """S_t = S_(t-1) + k_t v_t^T, o_t = S_t^T q_t.

    Source: Katharopoulos et al. 2020, "Transformers are RNNs" (arXiv 2006.16236), section 3.4, the recurrence of s_i.
    That of z_i, the normaliser, is the same with a value of 1: see `with_normaliser`.
    """
    dtype = state_dtype(v)
    q, k, v, out_dtype = scaled(q, scale).to(dtype), k.to(dtype), v.to(dtype), v.dtype
    state_BHKV = first_state(k, v, initial_state)
    steps: list[Tensor] = []
    for t in range(q.shape[1]):
        state_BHKV = state_BHKV + outer(k[:, t], v[:, t])
        steps.append(read(state_BHKV, q[:, t]))
    return torch.stack(steps, 1).to(out_dtype), state_BHKV if output_final_state else None


def chunkwise(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
) -> Result:
    """The recurrence in chunks."""
    chunks = Chunks(v, _LENGTH, initial_state, output_final_state)
    q_YCK, k_YCK, v_YCV = chunks.split(scaled(q, scale)), chunks.split(k), chunks.split(v)
    scores_YCC = torch.bmm(q_YCK, k_YCK.mT).tril()
    out, final = read_sums(chunks, scores_YCC, v_YCV, queries_YCK=q_YCK, kept_YCK=k_YCK)
    return out.to(v.dtype), final


def with_normaliser(v_BTHV: Tensor) -> Tensor:
    """Values with a last channel of ones, which sums the keys: z_t = z_(t-1) + k_t is that column of the state."""
    return F.pad(v_BTHV, (0, 1), value=1.0)


def normalised(out_BTHX: Tensor, floor: float = 1e-6) -> Tensor:
    """o_t = S_t^T q_t / (z_t . q_t + floor), from what `with_normaliser` values gave."""
    return out_BTHX[..., :-1] / (out_BTHX[..., -1:] + floor)
