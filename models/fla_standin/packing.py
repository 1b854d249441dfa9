"""Borders of sequences packed into one row: the index arithmetic of `fla.ops.utils.index`.

fla packs sequences of a batch behind each other into one row [1, T, ...] and names their borders in `cu_seqlens`,
the cumulative lengths [N + 1].

Shapes: B batch, T time, N packed sequences.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor


def prepare_lens(cu_seqlens: Tensor) -> Tensor:
    """Length of each packed sequence [N]."""
    return cu_seqlens.diff()


def prepare_lens_from_mask(mask: Tensor) -> Tensor:
    """Valid tokens in each row of a padding mask [B, T]."""
    return mask.sum(-1, dtype=torch.int32)


def prepare_cu_seqlens_from_lens(lens: Tensor, dtype: torch.dtype | None = torch.int32) -> Tensor:
    """Borders [N + 1] of sequences of these lengths."""
    return F.pad(lens.cumsum(0, dtype=dtype), (1, 0))


def prepare_cu_seqlens_from_mask(mask: Tensor, dtype: torch.dtype | None = torch.int32) -> Tensor:
    """Borders of the rows of a padding mask once their padding is dropped."""
    return prepare_cu_seqlens_from_lens(prepare_lens_from_mask(mask), dtype)


def prepare_position_ids(cu_seqlens: Tensor, cu_seqlens_cpu: Tensor | None = None) -> Tensor:
    """Each token's place in its own sequence [T]."""
    return _within(cu_seqlens.diff())[1].to(cu_seqlens)


def prepare_sequence_ids(cu_seqlens: Tensor, cu_seqlens_cpu: Tensor | None = None) -> Tensor:
    """The number of each token's sequence [T]."""
    return _within(cu_seqlens.diff())[0].to(cu_seqlens)


def prepare_token_indices(cu_seqlens: Tensor, cu_seqlens_cpu: Tensor | None = None) -> Tensor:
    """Sequence number and place of each token [T, 2]."""
    return torch.stack(_within(cu_seqlens.diff()), 1).to(cu_seqlens)


def prepare_chunk_indices(cu_seqlens: Tensor, chunk_size: int, cu_seqlens_cpu: Tensor | None = None) -> Tensor:
    """Sequence number and place of each chunk [chunks, 2]; no chunk reaches over a border."""
    return torch.stack(_within(_num_chunks(cu_seqlens, chunk_size)), 1).to(cu_seqlens)


def prepare_chunk_offsets(cu_seqlens: Tensor, chunk_size: int) -> Tensor:
    """Cumulative number of chunks [N + 1]."""
    return F.pad(_num_chunks(cu_seqlens, chunk_size), (1, 0)).cumsum(-1)


def get_max_num_splits(cu_seqlens: Tensor, chunk_size: int, cu_seqlens_cpu: Tensor | None = None) -> int:
    """Chunks of the longest sequence."""
    return int(_num_chunks(cu_seqlens, chunk_size).max())


def _num_chunks(cu_seqlens: Tensor, chunk_size: int) -> Tensor:
    return (cu_seqlens.diff() + chunk_size - 1).div(chunk_size, rounding_mode="floor")


def _within(counts_N: Tensor) -> tuple[Tensor, Tensor]:
    counts_N = counts_N.long()
    numbers = torch.repeat_interleave(torch.arange(len(counts_N), device=counts_N.device), counts_N)
    starts_N = counts_N.cumsum(0) - counts_N
    return numbers, torch.arange(len(numbers), device=counts_N.device) - starts_N[numbers]
