"""Sequences of different lengths packed behind each other into one row, and a way back.

`cu_seqlens`, the cumulative lengths [N + 1], names their borders. A packed row becomes N rows filled up on the right.
Since every operator is causal and the filling is zeros (no key, no value, no decay), outputs and final states stay what
they are for each alone.

Shapes: T time, N packed sequences, S steps of the longest of them, X anything.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Packing:
    """The borders of N sequences in one row [1, T, ...].

    Raises:
        ValueError: more than one row, or borders that are no whole numbers rising from 0 to T.
    """

    def __init__(self, cu_seqlens: Tensor, like_BTX: Tensor) -> None:
        if like_BTX.shape[0] != 1:
            raise ValueError(
                f"inputs have batch size {like_BTX.shape[0]} and cu_seqlens is given: make them one row [1, T, ...]"
            )
        check_borders(cu_seqlens)
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

    def last(self, history_NWX: Tensor, x_1TX: Tensor) -> Tensor:
        """The last W inputs of each sequence, reaching back into its history where it is shorter."""
        whole = torch.cat([history_NWX, self.unpack(x_1TX).to(history_NWX.dtype)], 1)
        width = history_NWX.shape[1]
        places = self.lengths_N[:, None] + torch.arange(width, device=whole.device)
        return whole[torch.arange(self.count, device=whole.device)[:, None], places]


def check_borders(cu_seqlens: Tensor) -> None:
    """ValueError unless they can be cumulative lengths; their values are not read."""
    if cu_seqlens.dim() != 1 or len(cu_seqlens) < 1 or cu_seqlens.is_floating_point():
        raise ValueError(
            f"cu_seqlens is {cu_seqlens.dtype} of shape {list(cu_seqlens.shape)}; give cumulative lengths [N + 1], "
            "whole numbers"
        )
