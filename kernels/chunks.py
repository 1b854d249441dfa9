"""A sequence cut into chunks: the layout, and the hand-over of states from chunk to chunk.

Shapes: B batch, T time, H heads, K key dim per head, V value dim per head, X any width, C chunk length, N chunks,
R = B * H rows, Y = N * R chunks side by side with the chunk index slowest, so that the chunks of one index are
contiguous. Tensors named `left` hold all chunks but the last, tensors named `right` all but the first: a state leaves
the former and enters the latter. Both are empty for a sequence of one chunk, and everything still works.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor


class Chunks:
    """How tensors [B, T, H, X] become matrices [Y, C, X] and back; the last chunk is filled up with zeros."""

    def __init__(self, like_BTHX: Tensor, length: int) -> None:
        self.batch, self.time, self.heads = like_BTHX.shape[:3]
        self.length = length
        self.count = -(-self.time // length)
        self.rows = self.batch * self.heads
        self.device = like_BTHX.device
        self.dtype = torch.float64 if like_BTHX.dtype == torch.float64 else torch.float32

    def split(self, x_BTHX: Tensor) -> Tensor:
        """x_YCX in the dtype of states."""
        x_BTHX = x_BTHX.to(self.dtype)
        missing = self.count * self.length - self.time
        if missing:
            x_BTHX = F.pad(x_BTHX, (0, 0, 0, 0, 0, missing))
        x_BNCHX = x_BTHX.reshape(self.batch, self.count, self.length, self.heads, -1)
        return x_BNCHX.permute(1, 0, 3, 2, 4).reshape(self.count * self.rows, self.length, -1)

    def join(self, x_YCX: Tensor) -> Tensor:
        """x_BTHX without the filling."""
        x_NBHCX = x_YCX.reshape(self.count, self.batch, self.heads, self.length, -1)
        x_BTHX = x_NBHCX.permute(1, 0, 3, 2, 4).reshape(self.batch, self.count * self.length, self.heads, -1)
        return x_BTHX[:, : self.time]

    def left(self, x_YCX: Tensor) -> Tensor:
        """All chunks but the last."""
        return x_YCX[: x_YCX.shape[0] - self.rows]

    def right(self, x_YCX: Tensor) -> Tensor:
        """All chunks but the first."""
        return x_YCX[self.rows :]

    def behind_first(self, right_X: Tensor) -> Tensor:
        """Zeros for the first chunk, whose state is empty, before what the others got."""
        return F.pad(right_X, (0, 0, 0, 0, self.rows, 0))

    def carry(self, updates_YKV: Tensor, decays_YXX: Tensor | None = None) -> Tensor:
        """States entering the right chunks, S_n = decay_n * S_(n-1) + update_n over the left ones; decays broadcast."""
        updates = torch.split(updates_YKV, self.rows)
        decays = None if decays_YXX is None else torch.split(decays_YXX, self.rows)
        states = [updates[0]]
        for n in range(1, self.count - 1):
            if decays is None:
                states.append(states[-1] + updates[n])
            else:
                states.append(torch.addcmul(updates[n], decays[n], states[-1]))
        return torch.cat(states)

    def carry_through(self, updates_YKV: Tensor, transitions_YKK: Tensor) -> Tensor:
        """States entering the right chunks, S_n = transition_n @ S_(n-1) + update_n over the left ones."""
        updates, transitions = torch.split(updates_YKV, self.rows), torch.split(transitions_YKK, self.rows)
        states = [updates[0]]
        for n in range(1, self.count - 1):
            states.append(torch.baddbmm(updates[n], transitions[n], states[-1]))
        return torch.cat(states)
