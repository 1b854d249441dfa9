"""Linear-time sequence operators in chunks: the recurrences of `kernels.reference`, fast in plain PyTorch.

Within chunks everything is a matrix product over all batches, heads and chunks at once; what stays a Python loop is
one fused operation per chunk that hands the state on (`kernels.chunks`, which also has the legend of shapes).
Everything is computed in float32 (float64 for float64 inputs) and returned in the dtype of v.

Decays are applied as exp of differences of cumulative logs that are never positive, so no factor overflows however
strong the decay. A log decay below -100 counts as -100: either forgets all but 4e-44.

Not covered: non-finite values. A NaN or infinity reaches every step of its chunk, earlier ones included, and so does
an overflow, which the delta rules meet when keys have norms far above 1.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from kernels.chunks import Chunks
from kernels.convolution import causal_conv
from kernels.fusion import fuse_paths
from kernels.reference import NORMALISER_FLOOR

__all__ = [
    "causal_conv",
    "delta_rule",
    "fuse_paths",
    "gated_delta_rule",
    "gla",
    "linear_attn",
    "retention",
    "simple_gla",
]

_LOG_DECAY_FLOOR = -100.0
# Chunk lengths: the fastest forward and backward on one CPU core at K = 16 to 64 (benchmarks/operators.py).
_DECAY_LENGTH = 32
_CHANNEL_LENGTH = 16  # a power of two


def linear_attn(q: Tensor, k: Tensor, v: Tensor, *, normalize: bool = False, scale: float | None = None) -> Tensor:
    """Linear attention, o_BTHV; see `kernels.reference.linear_attn`."""
    chunks = Chunks(v, _DECAY_LENGTH)
    q_YCK, k_YCK, v_YCV = chunks.split(_scaled(q, scale)), chunks.split(k), chunks.split(v)
    scores_YCC = torch.bmm(q_YCK, k_YCK.mT).tril()
    out_YCV = _within_and_before(chunks, scores_YCC, v_YCV, q_YCK, chunks.left(k_YCK), None)
    if normalize:
        keys_YK1 = chunks.carry(chunks.left(k_YCK).sum(1).unsqueeze(-1))
        before_YC1 = chunks.behind_first(torch.bmm(chunks.right(q_YCK), keys_YK1))
        out_YCV = out_YCV / (scores_YCC.sum(-1, keepdim=True) + before_YC1 + NORMALISER_FLOOR)
    return chunks.join(out_YCV).to(v.dtype)


def retention(q: Tensor, k: Tensor, v: Tensor, *, scale: float | None = None) -> Tensor:
    """Retention with RetNet's fixed decays, o_BTHV; see `kernels.reference.retention`."""
    chunks = Chunks(v, _DECAY_LENGTH)
    q_YCK, k_YCK, v_YCV = chunks.split(_scaled(q, scale)), chunks.split(k), chunks.split(v)
    g_H = [math.log1p(-(2.0 ** (-5 - head))) for head in range(chunks.heads)]
    steps_C = torch.arange(1, chunks.length + 1, dtype=chunks.dtype, device=chunks.device)
    total_HC = torch.tensor(g_H, dtype=chunks.dtype, device=chunks.device).unsqueeze(-1) * steps_C
    decay_YCC = _decay_within(total_HC).repeat(chunks.count * chunks.batch, 1, 1)
    total_YC1 = total_HC.unsqueeze(-1).repeat(chunks.count * chunks.batch, 1, 1)
    return _decayed(chunks, q_YCK, k_YCK, v_YCV, total_YC1, decay_YCC).to(v.dtype)


def simple_gla(q: Tensor, k: Tensor, v: Tensor, g: Tensor, *, scale: float | None = None) -> Tensor:
    """Linear attention with a scalar decay, o_BTHV; see `kernels.reference.simple_gla`."""
    chunks = Chunks(v, _DECAY_LENGTH)
    q_YCK, k_YCK, v_YCV = chunks.split(_scaled(q, scale)), chunks.split(k), chunks.split(v)
    total_YC1 = _cumulative(chunks, g.unsqueeze(-1))
    decay_YCC = _decay_within(total_YC1.squeeze(-1))
    return _decayed(chunks, q_YCK, k_YCK, v_YCV, total_YC1, decay_YCC).to(v.dtype)


def gla(q: Tensor, k: Tensor, v: Tensor, g: Tensor, *, scale: float | None = None) -> Tensor:
    """Gated linear attention with a decay per key channel, o_BTHV; see `kernels.reference.gla`."""
    chunks = Chunks(v, _CHANNEL_LENGTH)
    q_YCK, k_YCK, v_YCV = chunks.split(_scaled(q, scale)), chunks.split(k), chunks.split(v)
    total_YCK = _cumulative(chunks, g)
    out_YCV = _channel_decayed_within(q_YCK, k_YCK, v_YCV, total_YCK)
    left_YCK = chunks.left(total_YCK)
    kept_YCK = chunks.left(k_YCK) * (left_YCK[:, -1:] - left_YCK).exp()
    states_YKV = chunks.carry(torch.bmm(kept_YCK.mT, chunks.left(v_YCV)), left_YCK[:, -1].exp().unsqueeze(-1))
    queries_YCK = chunks.right(q_YCK) * chunks.right(total_YCK).exp()
    return chunks.join(out_YCV + chunks.behind_first(torch.bmm(queries_YCK, states_YKV))).to(v.dtype)


def delta_rule(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, *, scale: float | None = None) -> Tensor:
    """The delta rule, o_BTHV; see `kernels.reference.delta_rule`."""
    chunks = Chunks(v, _delta_length(k))
    q_YCK, k_YCK, v_YCV = chunks.split(_scaled(q, scale)), chunks.split(k), chunks.split(v)
    beta_YC1 = chunks.split(beta.unsqueeze(-1))
    written_YCK = beta_YC1 * k_YCK
    solved_YCX = _solve(torch.bmm(written_YCK, k_YCK.mT), beta_YC1 * v_YCV, written_YCK)
    scores_YCC = torch.bmm(q_YCK, k_YCK.mT).tril()
    identity_KK = torch.eye(k.shape[-1], dtype=chunks.dtype, device=chunks.device)
    return _delta_read(chunks, scores_YCC, solved_YCX, q_YCK, chunks.left(k_YCK), identity_KK).to(v.dtype)


def gated_delta_rule(q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, *, scale: float | None = None) -> Tensor:
    """The gated delta rule, o_BTHV; see `kernels.reference.gated_delta_rule`."""
    chunks = Chunks(v, _delta_length(k))
    q_YCK, k_YCK, v_YCV = chunks.split(_scaled(q, scale)), chunks.split(k), chunks.split(v)
    beta_YC1 = chunks.split(beta.unsqueeze(-1))
    total_YC1 = _cumulative(chunks, g.unsqueeze(-1))
    decay_YCC, since_start_YC1 = _decay_within(total_YC1.squeeze(-1)), total_YC1.exp()
    written_YCK = beta_YC1 * k_YCK
    overlap_YCC = torch.bmm(written_YCK, k_YCK.mT) * decay_YCC
    solved_YCX = _solve(overlap_YCC, beta_YC1 * v_YCV, since_start_YC1 * written_YCK)
    scores_YCC = torch.bmm(q_YCK, k_YCK.mT) * decay_YCC
    left_YC1 = chunks.left(total_YC1)
    kept_YCK = chunks.left(k_YCK) * (left_YC1[:, -1:] - left_YC1).exp()
    identity_KK = torch.eye(k.shape[-1], dtype=chunks.dtype, device=chunks.device)
    decayed_YKK = identity_KK * chunks.left(since_start_YC1)[:, -1:]
    return _delta_read(chunks, scores_YCC, solved_YCX, since_start_YC1 * q_YCK, kept_YCK, decayed_YKK).to(v.dtype)


def _delta_length(k_BTHK: Tensor) -> int:
    return 16 if k_BTHK.shape[-1] <= 16 else 32


def _scaled(q: Tensor, scale: float | None) -> Tensor:
    q = q if q.dtype == torch.float64 else q.float()
    return q * (q.shape[-1] ** -0.5 if scale is None else scale)


def _cumulative(chunks: Chunks, g_BTHX: Tensor) -> Tensor:
    """Log decay from each chunk's start to each of its steps, the step's own included."""
    return chunks.split(g_BTHX.clamp(min=_LOG_DECAY_FLOOR)).cumsum(1)


def _decay_within(total_XC: Tensor) -> Tensor:
    """decay_XCC from step j to step i, 0 where j > i; masked before exp, where the difference is positive."""
    length = total_XC.shape[-1]
    future_CC = torch.ones(length, length, dtype=torch.bool, device=total_XC.device).triu(1)
    return (total_XC.unsqueeze(-1) - total_XC.unsqueeze(-2)).masked_fill(future_CC, -math.inf).exp()


def _decayed(
    chunks: Chunks, q_YCK: Tensor, k_YCK: Tensor, v_YCV: Tensor, total_YC1: Tensor, decay_YCC: Tensor
) -> Tensor:
    scores_YCC = torch.bmm(q_YCK, k_YCK.mT) * decay_YCC
    left_YC1 = chunks.left(total_YC1)
    kept_YCK = chunks.left(k_YCK) * (left_YC1[:, -1:] - left_YC1).exp()
    out_YCV = _within_and_before(chunks, scores_YCC, v_YCV, q_YCK * total_YC1.exp(), kept_YCK, left_YC1[:, -1:].exp())
    return chunks.join(out_YCV)


def _within_and_before(
    chunks: Chunks,
    scores_YCC: Tensor,
    v_YCV: Tensor,
    queries_YCK: Tensor,
    kept_left_YCK: Tensor,
    decay_left_Y11: Tensor | None,
) -> Tensor:
    """What a chunk's queries read from the chunk itself and from the state that enters it."""
    states_YKV = chunks.carry(torch.bmm(kept_left_YCK.mT, chunks.left(v_YCV)), decay_left_Y11)
    before_YCV = chunks.behind_first(torch.bmm(chunks.right(queries_YCK), states_YKV))
    return torch.baddbmm(before_YCV, scores_YCC, v_YCV)


def _channel_decayed_within(q_YCK: Tensor, k_YCK: Tensor, v_YCV: Tensor, total_YCK: Tensor) -> Tensor:
    """What each step of a chunk (of a power of two) reads from the chunk itself, under a decay per channel.

    A decay per channel does not factor out of q . k, and splitting it over q and k about the chunk's start overflows.
    So halves are joined in doubling blocks: queries of the later half decay back to the middle, keys of the earlier
    half forward to it. Both exponents are at most 0, and nothing of size C x C x K is formed.
    """
    (blocks, length, _), value_dim = q_YCK.shape, v_YCV.shape[-1]
    out_YCV = (q_YCK * k_YCK).sum(-1, keepdim=True) * v_YCV
    half = 1
    while half < length:
        paired = (blocks * length // (2 * half), 2, half)
        early_total, late_total = total_YCK.reshape(*paired, -1).unbind(1)
        middle = early_total[:, -1:]
        queries = q_YCK.reshape(*paired, -1)[:, 1] * (late_total - middle).exp()
        keys = k_YCK.reshape(*paired, -1)[:, 0] * (middle - early_total).exp()
        read = torch.bmm(torch.bmm(queries, keys.mT), v_YCV.reshape(*paired, -1)[:, 0])
        out_YCV = out_YCV + F.pad(read.unsqueeze(1), (0, 0, 0, 0, 1, 0)).view(blocks, length, value_dim)
        half *= 2
    return out_YCV


def _solve(overlap_YCC: Tensor, values_YCV: Tensor, keys_YCK: Tensor) -> Tensor:
    """(I + strictly lower overlap)^-1 [values, keys] as [Y, C, V + K]: the UT transform of arXiv 2406.06484, section 3.

    Values become what the chunk would write into an empty state, keys what it erases from the one that enters.
    """
    inverse_YCC: Tensor = _UnitLowerInverse.apply(overlap_YCC.tril(-1))  # type: ignore[no-untyped-call]
    return torch.bmm(inverse_YCC, torch.cat([values_YCV, keys_YCK], -1))


def _delta_read(
    chunks: Chunks,
    scores_YCC: Tensor,
    solved_YCX: Tensor,
    queries_YCK: Tensor,
    kept_left_YCK: Tensor,
    decayed_YKK: Tensor,
) -> Tensor:
    """o_BTHV: a chunk writes U - E S, so S' = (decay - kept^T E) S + kept^T U and o = scores U + (q - scores E) S.

    U and E are the two parts of `solved`; everything but the hand-over of S is done for all chunks at once.
    """
    key_dim = queries_YCK.shape[-1]
    widths = [solved_YCX.shape[-1] - key_dim, key_dim]
    read_YCV, read_YCK = torch.split(torch.bmm(scores_YCC, solved_YCX), widths, -1)
    update_YKV, erase_YKK = torch.split(torch.bmm(kept_left_YCK.mT, chunks.left(solved_YCX)), widths, -1)
    states_YKV = chunks.carry_through(update_YKV, decayed_YKK - erase_YKK)
    probes_YCK = chunks.right(queries_YCK - read_YCK)
    return chunks.join(read_YCV + chunks.behind_first(torch.bmm(probes_YCK, states_YKV)))


class _UnitLowerInverse(torch.autograd.Function):
    """(I + A)^-1 of strictly lower triangular A_YCC.

    A triangular solve, not a series in A, whose powers cancel badly when keys repeat. Its own gradient, since torch's
    solves twice more where two products do.
    """

    @staticmethod
    def forward(ctx: Any, strictly_lower_YCC: Tensor) -> Tensor:
        identity_CC = torch.eye(
            strictly_lower_YCC.shape[-1], dtype=strictly_lower_YCC.dtype, device=strictly_lower_YCC.device
        )
        inverse_YCC: Tensor = torch.linalg.solve_triangular(
            strictly_lower_YCC, identity_CC.expand_as(strictly_lower_YCC), upper=False, unitriangular=True
        )
        ctx.save_for_backward(inverse_YCC)
        return inverse_YCC

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        inverse_YCC: Tensor = ctx.saved_tensors[0]
        return torch.bmm(torch.bmm(inverse_YCC.mT, grad_outputs[0]), inverse_YCC.mT).tril(-1).neg()
