"""Which fragments to merge: tiers, so that a row is rewritten once per tier and not once per merge.

Single commits are level 0. When a table has more than a set number of them they become one fragment of level 1; when
it has more than eight of one higher level they become one of the next. With 64 and n commits a table holds at most
64 + 8 log8(n / 64) fragments, about a hundred for a million commits, and a row is rewritten 1 + log8(n / 64) times.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from cognition.fragments import Fragment

FAN_IN = 8
CEILING_BYTES = 256 * 2**20
"""A fragment of this size is left alone: merging it again would save nothing and hold it in memory."""


def next_run(fragments: Sequence[Fragment], above: int) -> list[Fragment]:
    """The oldest neighbours of one level and one set of columns that are more than their level may hold; else none.

    Args:
        fragments: one table's, oldest first.
        above: what level 0 may hold; higher levels hold this or eight, whichever is less.
    """
    for (level, small, _), run in itertools.groupby(fragments, key=_kin):
        neighbours = list(run)
        allowed = above if level == 0 else min(above, FAN_IN)
        if small and len(neighbours) > max(allowed, 1):
            return neighbours
    return []


def _kin(fragment: Fragment) -> tuple[int, bool, str]:
    return fragment.level, fragment.size_bytes < CEILING_BYTES, fragment.digest
