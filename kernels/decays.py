"""Decays and overlaps within chunks: what the chunked forms have in common.

Decays are applied as exp of differences of cumulative logs that are never positive, so no factor overflows however
strong the decay. A log decay below -100 counts as -100: either forgets all but 4e-44.

Shapes as in `kernels.chunks`; I kinds of readers, J kinds of keys.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from kernels.chunks import Chunks

_LOG_DECAY_FLOOR = -100.0


def cumulative(chunks: Chunks, g_BTHX: Tensor) -> Tensor:
    """total_YCX: log decay from each chunk's start to each of its steps, the step's own included."""
    return chunks.split(g_BTHX.clamp(min=_LOG_DECAY_FLOOR)).cumsum(1)


def decay_within(total_YC: Tensor) -> Tensor:
    """decay_YCC from step j to step i, 0 where j > i; masked before exp, where the difference is positive."""
    length = total_YC.shape[-1]
    future_CC = torch.ones(length, length, dtype=torch.bool, device=total_YC.device).triu(1)
    return (total_YC.unsqueeze(-1) - total_YC.unsqueeze(-2)).masked_fill(future_CC, -math.inf).exp()


def to_the_end(total_YCX: Tensor) -> Tensor:
    """Decay from each step to the end of its chunk."""
    return (total_YCX[:, -1:] - total_YCX).exp()


def overlaps(
    readers_YICK: Tensor, totals_YICK: Tensor, keys_YJCK: Tensor, total_YCK: Tensor, diagonal_YCIJ: Tensor
) -> Tensor:
    """scores_YIJCC of readers with the keys of earlier steps of their chunk, under a decay per channel.

    Entry [i, j] for j < i is sum_K reader_i key_j exp(totals_i - total_j); the diagonal is given, 0 stands above it. C
    has to be a power of two; `totals` may lag behind `total` by the step's own decay, not more.

    A decay per channel does not factor out of a product, and splitting it about the chunk's start overflows. So halves
    are joined in doubling blocks: readers of the later half decay back to the middle, keys of the earlier half forward
    to it. Both exponents are at most 0, and nothing of size C x C x K is formed.
    """
    (num, kinds, length, width), sorts = readers_YICK.shape, keys_YJCK.shape[1]
    scores = diagonal_YCIJ.reshape(num * length, kinds, sorts, 1, 1)
    half = 1
    while half < length:
        blocks = length // (2 * half)
        paired = (num, -1, blocks, 2, half, width)
        early_total = total_YCK.reshape(paired)[:, :, :, 0]
        middle = early_total[:, :, :, -1:]
        late_totals = totals_YICK.reshape(paired)[:, :, :, 1]
        readers = readers_YICK.reshape(paired)[:, :, :, 1] * (late_totals - middle).exp()
        keys = keys_YJCK.reshape(paired)[:, :, :, 0] * (middle - early_total).exp()
        rows = readers.transpose(1, 2).reshape(num * blocks, kinds * half, width)
        columns = keys.transpose(1, 2).reshape(num * blocks, sorts * half, width)
        joined = torch.bmm(rows, columns.mT).view(num * blocks, kinds, half, sorts, half).transpose(2, 3)
        early, late = scores.view(num * blocks, 2, kinds, sorts, half, half).unbind(1)
        scores = torch.cat(
            [torch.cat([early, torch.zeros_like(early)], -1), torch.cat([joined, late], -1)],
            -2,
        )
        half *= 2
    return scores.view(num, kinds, sorts, length, length)


def solve(overlap_YCC: Tensor, right_hand_YCX: Tensor) -> Tensor:
    """(I + strictly lower overlap)^-1 right_hand: the UT transform of arXiv 2406.06484, section 3."""
    inverse_YCC: Tensor = UnitLowerInverse.apply(overlap_YCC.tril(-1))  # type: ignore[no-untyped-call]
    return torch.bmm(inverse_YCC, right_hand_YCX)


class UnitLowerInverse(torch.autograd.Function):
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
