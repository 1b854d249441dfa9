"""Recall while the context still grows: a key that was shown before has to be answered with its value. No torch.

The three recall tasks of MAD (Poli et al. 2024, "Mechanistic Design and Scaling of Hybrid Architectures", arXiv
2403.17844, section 3): in-context, fuzzy and noisy. In each sequence keys get values one to one and anew, so that the
weights can hold no answer. Pairs follow one another, keys drawn uniformly with repetition; at a key that the sequence
has shown before, its value is due. First showings do not count.

Shapes: N sequences, T time, P pairs in a sequence, K keys, L tokens that a key or value may have.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.batch import IGNORED, Batch
from models.mappings import require_counts
from models.probes.task import BLANK, Ints, Task, blank_batch, draw_different, draw_weighted


@dataclass(frozen=True, slots=True, kw_only=True)
class InContextRecall(Task):
    """Pairs of one token each, one after another. Tokens: 0 blank (an odd end), 1..K keys, K+1..2K values."""

    kind: str = field(init=False, default="in_context_recall")
    num_keys: int  # as many values

    def __post_init__(self) -> None:
        require_counts(self, "num_keys")

    @property
    def vocab_size(self) -> int:
        return 1 + 2 * self.num_keys

    @property
    def min_length(self) -> int:
        return 2 * (self.num_keys + 1)

    def chance(self, length: int) -> float:
        """A model that knows which values were shown, and not which belongs to the key."""
        return _chance(length // 2, self.num_keys)

    def sequences(self, num: int, length: int, rng: np.random.Generator) -> Batch:
        inputs, targets = blank_batch(num, length)
        num_pairs = length // 2
        keys_NP = rng.integers(0, self.num_keys, (num, num_pairs))
        values_NK = draw_different(rng, num, self.num_keys, self.num_keys)
        values_NP = 1 + self.num_keys + np.take_along_axis(values_NK, keys_NP, axis=1)
        inputs[:, 0 : 2 * num_pairs : 2] = 1 + keys_NP
        inputs[:, 1 : 2 * num_pairs : 2] = values_NP
        targets[:, 0 : 2 * num_pairs : 2] = np.where(_shown_before(keys_NP), values_NP, IGNORED)
        return Batch(inputs, targets)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoisyRecall(Task):
    """In-context recall with tokens of no meaning, from an alphabet of their own, strewn between the pairs.

    A sequence holds `noise_share` of noise, rounded so that pairs fill the rest.
    Tokens: 0 not used, 1..K keys, K+1..2K values, then the noise.
    """

    kind: str = field(init=False, default="noisy_recall")
    num_keys: int  # as many values
    num_noise: int  # alphabet of the noise
    noise_share: float  # of the tokens of a sequence, in (0, 1)

    def __post_init__(self) -> None:
        require_counts(self, "num_keys", "num_noise")
        share = self.noise_share
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
            raise ValueError(f"noisy_recall.noise_share is {share!r}; give a share above 0 and below 1")

    @property
    def vocab_size(self) -> int:
        return 1 + 2 * self.num_keys + self.num_noise

    @property
    def min_length(self) -> int:
        length = 2 * (self.num_keys + 1)
        while self._num_pairs(length) <= self.num_keys:
            length += 1
        return length

    def chance(self, length: int) -> float:
        """A model that knows which values were shown, and not which belongs to the key."""
        return _chance(self._num_pairs(length), self.num_keys)

    def sequences(self, num: int, length: int, rng: np.random.Generator) -> Batch:
        num_pairs = self._num_pairs(length)
        num_units = length - num_pairs  # a pair or a token of noise
        inputs, targets = blank_batch(num, length)
        inputs[:] = 1 + 2 * self.num_keys + rng.integers(0, self.num_noise, (num, length))
        is_pair = draw_different(rng, num, num_units, num_units) < num_pairs
        width = 1 + is_pair
        starts_NP = (width.cumsum(axis=1) - width)[is_pair].reshape(num, num_pairs)
        keys_NP = rng.integers(0, self.num_keys, (num, num_pairs))
        values_NK = draw_different(rng, num, self.num_keys, self.num_keys)
        values_NP = 1 + self.num_keys + np.take_along_axis(values_NK, keys_NP, axis=1)
        np.put_along_axis(inputs, starts_NP, 1 + keys_NP, axis=1)
        np.put_along_axis(inputs, starts_NP + 1, values_NP, axis=1)
        np.put_along_axis(targets, starts_NP, np.where(_shown_before(keys_NP), values_NP, IGNORED), axis=1)
        return Batch(inputs, targets)

    def _num_pairs(self, length: int) -> int:
        return int(length * (1 - self.noise_share)) // 2


@dataclass(frozen=True, slots=True, kw_only=True)
class FuzzyRecall(Task):
    """In-context recall whose keys and values are strings of 1 to L tokens: neighbours have to be read together.

    A key alone says little by its last token: keys of a sequence differ as strings, not in their tokens. Keys and
    values have alphabets of their own, which marks where a string begins. Values of a sequence differ in their first
    token; that one is due, at the last token of a key shown before. The rest of a value follows from its first token
    by recall of single tokens, so it does not count (in MAD it does). Sequences have as many pairs as fit when all
    strings have L tokens, and end in blanks.
    Tokens: 0 blank, 1..A key tokens (A = key_alphabet), A+1..A+K value tokens.
    """

    kind: str = field(init=False, default="fuzzy_recall")
    num_keys: int  # keys of a sequence; as many value tokens
    key_alphabet: int  # tokens that keys are made of
    max_tokens: int  # L

    def __post_init__(self) -> None:
        require_counts(self, "num_keys", "key_alphabet", "max_tokens")
        if len(self._string_sizes()) < self.num_keys:
            raise ValueError(
                f"fuzzy_recall: {self.num_keys} different keys cannot be made of key_alphabet {self.key_alphabet} and "
                f"max_tokens {self.max_tokens}, which give {len(self._string_sizes())}: raise either or ask for fewer"
            )

    @property
    def vocab_size(self) -> int:
        return 1 + self.key_alphabet + self.num_keys

    @property
    def min_length(self) -> int:
        return 2 * self.max_tokens * (self.num_keys + 1)

    def chance(self, length: int) -> float:
        """A model that knows which values were shown, and not which belongs to the key."""
        return _chance(length // (2 * self.max_tokens), self.num_keys)

    def sequences(self, num: int, length: int, rng: np.random.Generator) -> Batch:
        num_pairs, num_keys, longest = length // (2 * self.max_tokens), self.num_keys, self.max_tokens
        codes_NP = rng.integers(0, num_keys, (num, num_pairs))
        keys_NKL = self._keys(num, rng)
        values_NKL = 1 + self.key_alphabet + rng.integers(0, num_keys, (num, num_keys, longest))
        values_NKL[:, :, 0] = 1 + self.key_alphabet + draw_different(rng, num, num_keys, num_keys)
        sizes_NK = rng.integers(1, longest + 1, (num, num_keys))
        values_NKL[np.arange(longest) >= sizes_NK[..., None]] = BLANK
        rows = np.arange(num)[:, None]
        keys_NPL, values_NPL = keys_NKL[rows, codes_NP], values_NKL[rows, codes_NP]
        due_NPL = np.full_like(keys_NPL, IGNORED)
        last_NP = (keys_NPL != BLANK).sum(axis=2) - 1
        answers_NP = np.where(_shown_before(codes_NP), values_NPL[..., 0], IGNORED)
        np.put_along_axis(due_NPL, last_NP[..., None], answers_NP[..., None], axis=2)
        loose = np.concatenate((keys_NPL, values_NPL), axis=2).reshape(num, -1)
        due = np.concatenate((due_NPL, np.full_like(values_NPL, IGNORED)), axis=2).reshape(num, -1)
        order = np.argsort(loose == BLANK, axis=1, kind="stable")  # what is not blank moves up, in its order
        inputs, targets = blank_batch(num, length)
        inputs[:, : loose.shape[1]] = np.take_along_axis(loose, order, axis=1)
        targets[:, : loose.shape[1]] = np.take_along_axis(due, order, axis=1)
        return Batch(inputs, targets)

    def _string_sizes(self) -> Ints:
        """The length of every string over the key alphabet, shortest first."""
        sizes = np.arange(1, self.max_tokens + 1)
        return np.repeat(sizes, self.key_alphabet**sizes)

    def _keys(self, num: int, rng: np.random.Generator) -> Ints:
        """[N, K, L] different strings in each sequence, blank after their end; all lengths equally likely at first."""
        sizes = self._string_sizes()
        chosen_NK = draw_weighted(rng, num, float(self.key_alphabet) ** -sizes, self.num_keys)
        first = np.searchsorted(sizes, np.arange(1, self.max_tokens + 1))
        sizes_NK = sizes[chosen_NK]
        number_NK = chosen_NK - first[sizes_NK - 1]  # among the strings of its length
        digits_NKL = number_NK[..., None] // self.key_alphabet ** np.arange(self.max_tokens) % self.key_alphabet
        return np.where(np.arange(self.max_tokens) < sizes_NK[..., None], 1 + digits_NKL, BLANK)


def _shown_before(keys_NP: Ints) -> NDArray[np.bool_]:
    """Whether the same key stands anywhere earlier in its sequence."""
    same_NPP = keys_NP[:, :, None] == keys_NP[:, None, :]
    shown: NDArray[np.bool_] = np.tril(same_NPP, -1).any(axis=2)
    return shown


def _chance(num_pairs: int, num_keys: int) -> float:
    """Expected hits over expected counted targets of a guess among the values shown so far.

    After n pairs a key was shown before with probability 1 - (1 - 1/K)^n = E[d]/K, d the different keys so far; all d
    are equally likely, so the guess is right and counted with probability 1/K from the second pair on.
    """
    counted = sum(1.0 - (1.0 - 1.0 / num_keys) ** shown for shown in range(1, num_pairs))
    return (num_pairs - 1) / num_keys / counted
