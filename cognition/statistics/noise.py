"""How far results scatter that differ in nothing but their seed, and what that leaves to be told."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from cognition.statistics.intervals import Pooled
from cognition.statistics.observations import Numbers, finite
from cognition.statistics.student import student_t_quantile, two_sided


def paired_noise(rows: Sequence[Numbers]) -> Pooled | None:
    """The spread of a paired difference between two mixers that were trained on the same seeds.

    What is left of each result after its mixer's mean and its seed's mean are taken away, times sqrt(2): the seeds'
    common part, which pairing removes, does not count.

    Args:
        rows: one for each mixer, with one result for each seed, in the same order; shape [M, S].

    Returns:
        None with fewer than two mixers or seeds, which have no such spread.

    Raises:
        ValueError: rows of different lengths, or a value is not finite.
    """
    if len({len(row) for row in rows}) > 1:
        raise ValueError(f"rows have {sorted({len(row) for row in rows})} results; give each mixer all the seeds")
    if len(rows) < 2 or len(rows[0]) < 2:
        return None
    table = np.stack([finite(row) for row in rows])
    rest = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0, keepdims=True) + table.mean()
    dof = (table.shape[0] - 1) * (table.shape[1] - 1)
    return Pooled(std=math.sqrt(2 * float((rest**2).sum()) / dof), dof=dof)


def smallest_by_interval(noise: Pooled, num: int, *, confidence: float = 0.95, chance: float = 0.8) -> float:
    """The difference whose interval of fixed size, over `num` paired seeds, leaves zero out with this chance.

    (t of the interval + t of the chance) sigma / sqrt(num), as sample sizes are reckoned; a little off at few degrees.
    """
    reach = two_sided(confidence, noise.dof) + student_t_quantile(chance, noise.dof)
    return reach * noise.std / math.sqrt(num)
