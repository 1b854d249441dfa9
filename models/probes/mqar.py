"""Multi-query associative recall: key-value pairs, then the keys again, each to be answered with its value. No torch.

Shapes: N sequences, T time.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from models.batch import Batch
from models.mappings import require_counts
from models.probes.task import Task, blank_batch, draw_different, draw_weighted

_GAP_POWER = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Mqar(Task):
    """Recall after the pairs have ended; the load is the number of pairs.

    Queries stand at even offsets after the pairs in random order, and nearer ones are likelier (power law, exponent
    0.01 as published). Between queries stands a blank. Keys of a sequence differ, values too.
    Tokens: 0 blank, 1..K keys, K+1..2K values (K = num_keys).
    Source: Zoology, Arora et al. 2023, arXiv 2312.04927, section 3.
    """

    kind: str = field(init=False, default="mqar")
    num_pairs: int  # key-value pairs to remember in one sequence
    num_keys: int  # alphabet of keys; as many values

    def __post_init__(self) -> None:
        require_counts(self, "num_pairs", "num_keys")
        if self.num_keys < self.num_pairs:
            raise ValueError(
                f"mqar: {self.num_pairs} pairs need as many different keys, num_keys is {self.num_keys}: raise it"
            )

    @property
    def vocab_size(self) -> int:
        return 1 + 2 * self.num_keys

    @property
    def min_length(self) -> int:
        return 4 * self.num_pairs

    def chance(self, length: int) -> float:
        """A model that knows which values the sequence holds, and not which belongs to the key."""
        return 1.0 / self.num_pairs

    def sequences(self, num: int, length: int, rng: np.random.Generator) -> Batch:
        keys = 1 + draw_different(rng, num, self.num_keys, self.num_pairs)
        values = 1 + self.num_keys + draw_different(rng, num, self.num_keys, self.num_pairs)
        inputs, targets = blank_batch(num, length)
        context = 2 * self.num_pairs
        inputs[:, 0:context:2] = keys
        inputs[:, 1:context:2] = values
        num_places = (length - context) // 2
        places = draw_weighted(rng, num, np.arange(1, num_places + 1) ** (_GAP_POWER - 1.0), self.num_pairs)
        positions = context + 2 * places
        np.put_along_axis(inputs, positions, keys, axis=1)
        np.put_along_axis(targets, positions, values, axis=1)
        return Batch(inputs, targets)
