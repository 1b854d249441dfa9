"""A sequence cut into chunks: the layout, and the hand-over of states from chunk to chunk.

Shapes: B batch, T time, H heads, K key dim per head, V value dim per head, X any width, C chunk length, N chunks,
R = B * H rows, Y = N * R chunks side by side with the chunk index slowest, so that the chunks of one index are
contiguous. Tensors named `left` hold the chunks that a state leaves, tensors named `right` those that one enters. A
chunk that no state enters (the first, without an initial state) or whose state nobody reads (the last, without a final
one) is left out of either; both may be empty, and everything still works.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor


class Carried(NamedTuple):
    """States on their way through the chunks."""

    entering: Tensor  # [right chunks, K, V]
    final: Tensor | None  # [B, H, K, V] behind the last chunk, where it was asked for


class Chunks:
    """How tensors [B, T, H, X] become matrices [Y, C, X] and back; the last chunk is filled up with zeros.

    Zeros mean no key, no value, no decay, no writing strength: the filling leaves the state as it is.
    """

    def __init__(
        self, like_BTHX: Tensor, length: int, initial_state: Tensor | None = None, output_final_state: bool = False
    ) -> None:
        self.batch, self.time, self.heads = like_BTHX.shape[:3]
        self.length = length
        self.count = -(-self.time // length)
        self.rows = self.batch * self.heads
        self.device = like_BTHX.device
        self.dtype = torch.float64 if like_BTHX.dtype == torch.float64 else torch.float32
        self._initial = None if initial_state is None else initial_state.to(self.dtype).flatten(0, 1)
        self._wants_final = output_final_state
        self._num_left = self.count if output_final_state else self.count - 1

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
        """The chunks that a state leaves."""
        return x_YCX[: self._num_left * self.rows]

    def right(self, x_YCX: Tensor) -> Tensor:
        """The chunks that a state enters."""
        return x_YCX if self._initial is not None else x_YCX[self.rows :]

    def at_right(self, right_X: Tensor) -> Tensor:
        """What the right chunks got, behind zeros for a first chunk that no state enters."""
        return right_X if self._initial is not None else F.pad(right_X, (0, 0, 0, 0, self.rows, 0))

    def carry(
        self, updates_YKV: Tensor, *, decays_YXX: Tensor | None = None, transitions_YKK: Tensor | None = None
    ) -> Carried:
        """S_(n+1) = decay_n * S_n + update_n, or transition_n @ S_n + update_n, over the left chunks.

        Decays broadcast; neither decays nor transitions means that states are only added to.
        """
        states = [] if self._initial is None else [self._initial]
        updates = torch.split(updates_YKV, self.rows)
        decays = () if decays_YXX is None else torch.split(decays_YXX, self.rows)
        transitions = () if transitions_YKK is None else torch.split(transitions_YKK, self.rows)
        for n in range(self._num_left):
            if not states:
                states.append(updates[n])
            elif decays:
                states.append(torch.addcmul(updates[n], decays[n], states[-1]))
            elif transitions:
                states.append(torch.baddbmm(updates[n], transitions[n], states[-1]))
            else:
                states.append(states[-1] + updates[n])
        final = states.pop().view(self.batch, self.heads, *updates_YKV.shape[1:]) if self._wants_final else None
        return Carried(torch.cat(states) if states else updates_YKV[:0], final)


def read_sums(
    chunks: Chunks,
    scores_YCC: Tensor,
    v_YCV: Tensor,
    *,
    queries_YCK: Tensor,
    kept_YCK: Tensor,
    decay_Y1X: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """o_BTHV and final state of memories that only add: what queries read from their chunk and from what entered it.

    `queries` are decayed from the chunk's start, `kept` keys to its end, `decay` is that of the whole chunk.
    """
    updates_YKV = torch.bmm(chunks.left(kept_YCK).mT, chunks.left(v_YCV))
    decays = None if decay_Y1X is None else chunks.left(decay_Y1X).mT
    carried = chunks.carry(updates_YKV, decays_YXX=decays)
    before_YCV = chunks.at_right(torch.bmm(chunks.right(queries_YCK), carried.entering))
    return chunks.join(torch.baddbmm(before_YCV, scores_YCC, v_YCV)), carried.final


def read_corrections(
    chunks: Chunks,
    scores_YCC: Tensor,
    solved_YCX: Tensor,
    *,
    queries_YCK: Tensor,
    kept_YCK: Tensor,
    decay_Y1X: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """o_BTHV and final state of memories that correct what they hold: a chunk writes U + E S where S entered it.

    S' = (decay + kept^T E) S + kept^T U and o = scores U + (queries + scores E) S, so that everything but the hand-over
    of S is done for all chunks at once. `solved` is [U, E]; the others as in `read_sums`.
    """
    key_dim = queries_YCK.shape[-1]
    widths = [solved_YCX.shape[-1] - key_dim, key_dim]
    read_YCV, read_YCK = torch.split(torch.bmm(scores_YCC, solved_YCX), widths, -1)
    update_YKV, erase_YKK = torch.split(torch.bmm(chunks.left(kept_YCK).mT, chunks.left(solved_YCX)), widths, -1)
    identity_KK = torch.eye(key_dim, dtype=chunks.dtype, device=chunks.device)
    decay = identity_KK if decay_Y1X is None else identity_KK * chunks.left(decay_Y1X)
    carried = chunks.carry(update_YKV, transitions_YKK=decay + erase_YKK)
    probes_YCK = chunks.right(queries_YCK + read_YCK)
    return chunks.join(read_YCV + chunks.at_right(torch.bmm(probes_YCK, carried.entering))), carried.final
