"""Giving back what was read: in its order among blanks, and by position after it has been taken in. No torch.

Two tasks of MAD (Poli et al. 2024, "Mechanistic Design and Scaling of Hybrid Architectures", arXiv 2403.17844,
section 3), both without feeding answers back: where a token is due the input holds a marker.

Shapes: N sequences, T time, C tokens to give back.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from models.batch import Batch
from models.mappings import require_counts
from models.probes.task import Task, blank_batch, commonest_share, draw_different


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectiveCopying(Task):
    """Tokens at random places among blanks; at the markers that end the sequence they are due in their order.

    Tokens: 0 blank, 1 marker, then the alphabet, drawn independently.
    """

    kind: str = field(init=False, default="selective_copying")
    num_tokens: int  # C
    alphabet: int

    def __post_init__(self) -> None:
        require_counts(self, "num_tokens", "alphabet")

    @property
    def vocab_size(self) -> int:
        return 2 + self.alphabet

    @property
    def min_length(self) -> int:
        return 2 * self.num_tokens + 1

    def chance(self, length: int) -> float:
        """A model that knows which tokens there were, and not their order."""
        return commonest_share(self.num_tokens, self.alphabet)

    def sequences(self, num: int, length: int, rng: np.random.Generator) -> Batch:
        inputs, targets = blank_batch(num, length)
        end = length - self.num_tokens
        places_NC = np.sort(draw_different(rng, num, end, self.num_tokens), axis=1)
        tokens_NC = 2 + rng.integers(0, self.alphabet, (num, self.num_tokens))
        np.put_along_axis(inputs, places_NC, tokens_NC, axis=1)
        inputs[:, end:] = 1
        targets[:, end:] = tokens_NC
        return Batch(inputs, targets)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compression(Task):
    """Tokens, a compress token, then a marker for every position in random order, at which that token is due.

    MAD has an encoder whose last state alone is decoded, with a position, by an MLP. A causal language model is not
    held to that: at a marker it may still look at the tokens themselves, so that this measures whether what stood at
    a position can be had afterwards, in one state for a recurrent mixer, and not whether it fits one vector.
    Tokens: 0 blank (after the end), 1 compress, 2..C+1 markers, then the alphabet, drawn independently.
    """

    kind: str = field(init=False, default="compression")
    num_tokens: int  # C
    alphabet: int

    def __post_init__(self) -> None:
        require_counts(self, "num_tokens", "alphabet")

    @property
    def vocab_size(self) -> int:
        return 2 + self.num_tokens + self.alphabet

    @property
    def min_length(self) -> int:
        return 2 * self.num_tokens + 1

    def chance(self, length: int) -> float:
        """A model that knows which tokens there were, and not where each stood."""
        return commonest_share(self.num_tokens, self.alphabet)

    def sequences(self, num: int, length: int, rng: np.random.Generator) -> Batch:
        inputs, targets = blank_batch(num, length)
        asked = slice(self.num_tokens + 1, self.min_length)
        tokens_NC = 2 + self.num_tokens + rng.integers(0, self.alphabet, (num, self.num_tokens))
        order_NC = draw_different(rng, num, self.num_tokens, self.num_tokens)
        inputs[:, : self.num_tokens] = tokens_NC
        inputs[:, self.num_tokens] = 1
        inputs[:, asked] = 2 + order_NC
        targets[:, asked] = np.take_along_axis(tokens_NC, order_NC, axis=1)
        return Batch(inputs, targets)
