"""Decays and overlaps within chunks: what the chunked forms have in common.

Decays are applied as exp of sums of logs that are never positive, so no factor overflows however strong the decay; and
the sums are of the steps in between, never differences of totals, whose gradients cancel (in float32 nothing was left
of the gradient of a log decay near -15). A log decay below -100 counts as -100: either forgets all but 4e-44.

Shapes as in `kernels.chunks`; I kinds of readers, J kinds of keys.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from kernels.chunks import Chunks

_LOG_DECAY_FLOOR = -100.0


def log_decays(chunks: Chunks, g_BTHX: Tensor) -> Tensor:
    """g_YCX: the log decay of every step, cut into chunks."""
    return chunks.split(g_BTHX.clamp(min=_LOG_DECAY_FLOOR))


def decay_within(g_YC: Tensor) -> Tensor:
    """decay_YCC from step j to step i, 0 where j > i: exp of the sum of the steps in between, j's own left out.

    Summed for each pair, not taken as differences of totals: in their gradient the pairs that keep much, the diagonal
    above all, cancel each other, and what remains of those that keep little is rounding.
    """
    length = g_YC.shape[-1]
    ones_CC = torch.ones(length, length, dtype=torch.bool, device=g_YC.device)
    counted_YCC = g_YC.unsqueeze(-1).expand(-1, -1, length).masked_fill(ones_CC.triu(), 0.0)
    return counted_YCC.cumsum(1).masked_fill(ones_CC.triu(1), -math.inf).exp()


def to_the_end(g_YCX: Tensor) -> Tensor:
    """Decay from each step to the end of its chunk, its own left out; summed from the end, as in `decay_within`."""
    later_YCX = F.pad(g_YCX[:, 1:], (0, 0, 0, 1))
    return later_YCX.flip(1).cumsum(1).flip(1).exp()


def overlaps(
    readers_YICK: Tensor, keys_YJCK: Tensor, g_YCK: Tensor, diagonal_YCIJ: Tensor, *, num_ahead: int = 0
) -> Tensor:
    """scores_YIJCC of readers with the keys of earlier steps of their chunk, under a decay per channel.

    Entry [i, j] for j < i is sum_K reader_i key_j exp(g_(j+1) + ... + g_i); the diagonal is given, 0 stands above it. C
    has to be a power of two. The last `num_ahead` kinds of readers read ahead of their own step's decay, without g_i.

    A decay per channel does not factor out of a product, and splitting it about the chunk's start overflows. So halves
    are joined in doubling blocks: readers of the later half decay back to the middle, keys of the earlier half forward
    to it. Both exponents are sums within their half, at most 0, and nothing of size C x C x K is formed.
    """
    (num, kinds, length, width), sorts = readers_YICK.shape, keys_YJCK.shape[1]
    scores = diagonal_YCIJ.reshape(num * length, kinds, sorts, 1, 1)
    half = 1
    while half < length:
        blocks = length // (2 * half)
        paired = (num, -1, blocks, 2, half, width)
        early_g, late_g = g_YCK.reshape(num * blocks, 2, half, width).unbind(1)
        since_middle = late_g.cumsum(1)
        decays = [since_middle.exp()] * (kinds - num_ahead)
        decays += [F.pad(since_middle[:, :-1], (0, 0, 1, 0)).exp()] * num_ahead
        readers = readers_YICK.reshape(paired)[:, :, :, 1].transpose(1, 2).flatten(0, 1) * torch.stack(decays, 1)
        keys = keys_YJCK.reshape(paired)[:, :, :, 0].transpose(1, 2).flatten(0, 1) * to_the_end(early_g).unsqueeze(1)
        joined = torch.bmm(readers.flatten(1, 2), keys.flatten(1, 2).mT)
        joined = joined.view(num * blocks, kinds, half, sorts, half).transpose(2, 3)
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
