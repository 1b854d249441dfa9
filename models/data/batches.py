"""The order in which windows of text are read: for training by seed, for evaluation once and in the order of the text.

Arrays in memory are read at random places, with replacement. Packed tokens are read window by window: an epoch is a
permutation of all windows by seed and epoch, computed place by place, so that batch k is known without those before.

Shapes: B batch, T time, N windows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import count

import numpy as np
from numpy.typing import NDArray

from models.batch import Batch
from models.data.tokens import PackedTokens, TokenArray, Tokens

_ROUNDS = 6


def text_batches(tokens: Tokens, batch_size: int, length: int, seed: int, start: int = 0) -> Iterator[Batch]:
    """Endless batches; the order depends on `seed` and the tokens alone, never on a candidate.

    `start` is the number of the first batch handed out: a training that goes on after k steps starts at k.
    """
    _require_tokens(tokens, length + 1)
    if isinstance(tokens, PackedTokens):
        return (batch_at(tokens, batch_size, length, seed, number) for number in count(start))
    return _random_batches(tokens, batch_size, length, seed, start)


def batch_at(tokens: PackedTokens, batch_size: int, length: int, seed: int, number: int) -> Batch:
    """Batch `number` of the training order: the same on every machine, without replacement within an epoch."""
    num_windows = (len(tokens) - 1) // length
    places = np.arange(number * batch_size, (number + 1) * batch_size, dtype=np.int64)
    epochs, places = np.divmod(places, num_windows)
    starts = np.empty_like(places)
    for epoch in range(int(epochs[0]), int(epochs[-1]) + 1):
        rows = epochs == epoch
        starts[rows] = permuted(places[rows], num_windows, f"{seed}/{epoch}") * length
    return _cut(tokens, starts, length)


def windows(tokens: Tokens, num: int, length: int, seed: int) -> Batch:
    """`num` different windows that do not overlap, in the order of the text.

    Raises:
        ValueError: the split holds fewer such windows.
    """
    _require_tokens(tokens, num * length + 1)
    available = (len(tokens) - 1) // length
    chosen = np.sort(np.random.default_rng(seed).choice(available, size=num, replace=False))
    return _cut(tokens, chosen * length, length)


def permuted(places: NDArray[np.int64], size: int, key: str) -> NDArray[np.int64]:
    """Where a permutation of range(size), drawn by `key`, puts these places; no table of the whole is made.

    A Feistel network over the next even power of two; what falls outside is sent through again (cycle walking: Black
    and Rogaway, "Ciphers with arbitrary finite domains", 2002, section 3). Not a cipher: the keys are public.
    """
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    digest = hashlib.blake2b(key.encode(), digest_size=8 * _ROUNDS).digest()
    keys = np.frombuffer(digest, dtype="<u8").astype(np.uint64)
    found = _feistel(places.astype(np.uint64), half, keys)
    while (outside := found >= size).any():
        found[outside] = _feistel(found[outside], half, keys)
    return found.astype(np.int64)


def _feistel(values: NDArray[np.uint64], half: int, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    shift, mask = np.uint64(half), np.uint64((1 << half) - 1)
    left, right = values >> shift, values & mask
    for key in keys:
        left, right = right, left ^ (_mixed(right ^ key) & mask)
    return (left << shift) | right


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _random_batches(tokens: TokenArray, batch_size: int, length: int, seed: int, start: int) -> Iterator[Batch]:
    rng = np.random.default_rng(seed)
    for number in count():
        starts = rng.integers(0, len(tokens) - length, size=batch_size)
        if number >= start:
            yield _cut(tokens, starts, length)


def _cut(tokens: Tokens, starts: NDArray[np.int64], length: int) -> Batch:
    if isinstance(tokens, PackedTokens):
        spans = tokens.spans(starts, length + 1)
    else:
        spans = tokens[starts[:, None] + np.arange(length + 1)].astype(np.int64)
    return Batch(np.ascontiguousarray(spans[:, :-1]), np.ascontiguousarray(spans[:, 1:]))


def _require_tokens(tokens: Tokens, needed: int) -> None:
    if len(tokens) < needed:
        raise ValueError(
            f"the split has {len(tokens)} tokens, {needed} are needed: use a larger corpus, raise data.max_bytes, or "
            "lower length or eval_windows"
        )
