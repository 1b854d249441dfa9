"""Sequences of different lengths packed into one row: the index arithmetic of `fla.ops.utils.index`, and a way back.

fla packs sequences of a batch behind each other into one row [1, T, ...] and names their borders in `cu_seqlens`,
the cumulative lengths [N + 1]. Here a packed row becomes N rows filled up on the right. Since every operator is causal
and the filling is zeros (no key, no value, no decay), outputs and final states stay what they are for each alone.

Shapes: B batch, T time, N packed sequences, S steps of the longest of them, X anything.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor


class Packing:
    """The borders of N sequences in one row."""

    def __init__(self, cu_seqlens: Tensor, like_BTX: Tensor) -> None:
        if like_BTX.shape[0] != 1:
            raise ValueError(
                f"inputs have batch size {like_BTX.shape[0]} and cu_seqlens is given: make them one row [1, T, ...]"
            )
        borders = cu_seqlens.to(device=like_BTX.device, dtype=torch.long)
        self.lengths_N = borders.diff()
        if int(borders[0]) != 0 or int(borders[-1]) != like_BTX.shape[1] or bool((self.lengths_N < 0).any()):
            raise ValueError(
                f"cu_seqlens is {cu_seqlens.tolist()}; for {like_BTX.shape[1]} tokens it has to rise from 0 to "
                f"{like_BTX.shape[1]}"
            )
        self.count = len(borders) - 1
        self.steps = max(1, int(self.lengths_N.max()) if self.count else 1)
        rows_T = torch.repeat_interleave(torch.arange(self.count, device=borders.device), self.lengths_N)
        places_T = torch.arange(like_BTX.shape[1], device=borders.device) - borders[rows_T]
        self._slots_T = rows_T * self.steps + places_T

    def unpack(self, x_1TX: Tensor) -> Tensor:
        """x_NSX, zeros behind each sequence's end."""
        empty = x_1TX.new_zeros(self.count * self.steps, *x_1TX.shape[2:])
        return empty.index_copy(0, self._slots_T, x_1TX[0]).view(self.count, self.steps, *x_1TX.shape[2:])

    def pack(self, x_NSX: Tensor) -> Tensor:
        """x_1TX without the filling."""
        return x_NSX.flatten(0, 1)[self._slots_T].unsqueeze(0)


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
