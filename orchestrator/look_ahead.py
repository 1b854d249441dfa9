"""How many candidates have to be in flight for no slot to wait: Little's law, measured as the campaign runs."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Sequence

_REMEMBERED = 16  # candidates; proposing gets slower as prompts grow


class LookAhead:
    """Candidates wanted on the way to a slot or at one, from what they take before training and in training.

    With S slots and trials of t seconds, a slot is never idle while S candidates train and S * (outside / t) more are
    being written or examined; one more absorbs the spread. What is still being written counts by
    its age, so that a slow model is seen before its first answer. Times are of a monotonic clock, in seconds.
    """

    def __init__(self, num_slots: int, trial_s: float, most: int) -> None:
        """`trial_s`: what a trial is expected to take until the first one has ended; `most`: never more than this."""
        self._num_slots, self.most = num_slots, most
        self._outside_s: deque[float] = deque(maxlen=_REMEMBERED)
        self._trial_s: deque[float] = deque([trial_s], maxlen=_REMEMBERED)

    def closed(self, lifetime_s: float, queued_and_trained_s: float) -> None:
        """A candidate has ended; of its life up to its last trial it waited for slots and held them for so long."""
        self._outside_s.append(max(0.0, lifetime_s - queued_and_trained_s))

    def trained(self, slot_s: float) -> None:
        """A trial has ended, and its slot wants another."""
        self._trial_s.append(slot_s)

    def wanted(self, ages_s: Sequence[float] = ()) -> int:
        """Candidates in flight, given the ages of those that have not come to a slot yet."""
        done = statistics.fmean(self._outside_s) if self._outside_s else 0.0
        waiting = statistics.fmean(ages_s) if ages_s else 0.0
        outside = max(done, waiting)
        inside = max(1e-3, statistics.fmean(self._trial_s))
        return min(self.most, self._num_slots + 1 + math.ceil(self._num_slots * outside / inside))
