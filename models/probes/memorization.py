"""Facts that no sequence states: keys whose values are the same in every sequence, to be kept in the weights. No torch.

Shapes: N sequences, T time, P facts asked for in a sequence.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from models.batch import Batch
from models.mappings import require_counts
from models.probes.task import Task, blank_batch

_TABLE_STREAM = 2403_17844  # any number; it fixes the table


@dataclass(frozen=True, slots=True, kw_only=True)
class Memorization(Task):
    """A key, then a marker, at which the key's value is due; again and again.

    The table is fixed by `num_facts` alone, one to one, and the same in training and evaluation for every seed: to
    have seen the facts is the point, and only their order differs. Most of it is done by the host's embedding and
    feed-forward layers; the mixer carries the key one step on.
    Tokens: 0 blank (an odd end), 1 marker, 2..F+1 keys, F+2..2F+1 values (F = num_facts).
    Source: MAD, Poli et al. 2024, arXiv 2403.17844, section 3.
    """

    kind: str = field(init=False, default="memorization")
    num_facts: int

    def __post_init__(self) -> None:
        require_counts(self, "num_facts")

    @property
    def vocab_size(self) -> int:
        return 2 + 2 * self.num_facts

    @property
    def min_length(self) -> int:
        return 2

    def chance(self, length: int) -> float:
        """A model that knows which values there are, and no fact."""
        return 1.0 / self.num_facts

    def sequences(self, num: int, length: int, rng: np.random.Generator) -> Batch:
        table = np.random.default_rng([_TABLE_STREAM, self.num_facts]).permutation(self.num_facts)
        inputs, targets = blank_batch(num, length)
        num_pairs = length // 2
        keys_NP = rng.integers(0, self.num_facts, (num, num_pairs))
        inputs[:, 0 : 2 * num_pairs : 2] = 2 + keys_NP
        inputs[:, 1 : 2 * num_pairs : 2] = 1
        targets[:, 1 : 2 * num_pairs : 2] = 2 + self.num_facts + table[keys_NP]
        return Batch(inputs, targets)
