"""Texts as vectors: what an embedder is, and those that need nothing from outside.

Shapes: N texts, H hash buckets, D dimensions.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import Protocol

import numpy as np
import yaml
from numpy.typing import NDArray

from cognition.words import terms_of

Vectors = NDArray[np.float32]

_NUM_DIMENSIONS = 256  # of vectors that know no library
_NUM_BUCKETS = 8192
_NUM_LATENT = 100
_WORD, _PAIR, _PIECE, _CONCEPT = 1.0, 0.5, 0.25, 1.0  # weights of a feature by its kind
_PIECES = (4, 5)  # letters of an n-gram within a word


class NoVectors(Exception):
    """An embedder has no vectors for texts now; says why. Another embedder may have some."""


class Embedder(Protocol):
    """Turns texts into vectors of unit length. `name` holds whatever makes its vectors comparable."""

    @property
    def name(self) -> str: ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """[N] texts -> [N, D], rows of unit length; a text without any content is a row of zeros."""
        ...


class HashedNgrams:
    """Words, pairs of neighbours, letter n-grams and the field's concepts, hashed into a fixed number of dimensions.

    Feature hashing with signs (Weinberger et al. 2009, arXiv:0902.2206), n-grams within words as in fastText
    (Bojanowski et al. 2016, arXiv:1607.04606). A concept is a list of words that mean the same in this field
    (cognition/concepts.yaml). Tells whether two texts say the same in much the same words; a paraphrase that shares
    neither words nor concepts stays unrecognised.
    """

    name = "hashed_ngrams_1"

    def embed(self, texts: Sequence[str]) -> Vectors:
        vectors = np.zeros((len(texts), _NUM_DIMENSIONS), dtype=np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            for feature, weight in features_of(text).items():
                digest = _digest(feature)
                vector[(digest >> 1) % _NUM_DIMENSIONS] += weight if digest & 1 == 0 else -weight
        return of_unit_length(vectors)


class LatentNgrams:
    """The same features, weighed by how rare they are and projected onto what varies between given documents.

    Latent semantic analysis (Deerwester et al. 1990): words that occur with the same documents come to lie together,
    so that the many wordings of the library's entries teach it which words mean the same. Its vectors are comparable
    to those of the same documents only, and its name says which.
    """

    def __init__(self, documents: Iterable[Sequence[str]]) -> None:
        """Learn from documents, each given as its parts.

        Raises:
            ValueError: there is none.
        """
        parts = [list(document) for document in documents]
        texts = [text for document in parts for text in document]
        if not texts:
            raise ValueError("an embedder that learns from documents was given none: use HashedNgrams")
        owners = [owner for owner, document in enumerate(parts) for _ in document]
        hashed = [_hashed(text) for text in texts]
        num_holding = np.zeros(_NUM_BUCKETS)
        for buckets, _ in hashed:
            num_holding[buckets] += 1
        rarity = np.log1p(len(texts) / np.maximum(num_holding, 1))
        self._rarity = np.where(num_holding > 1, rarity, 0.0).astype(np.float32)  # what occurs once relates to nothing
        sums = np.zeros((len(parts), _NUM_BUCKETS), dtype=np.float32)
        for owner, (buckets, counts) in zip(owners, hashed, strict=True):
            weights = counts * self._rarity[buckets]
            sums[owner, buckets] += weights / max(float(np.linalg.norm(weights)), 1e-12)
        _, _, directions = np.linalg.svd(of_unit_length(sums), full_matrices=False)
        directions = directions[:_NUM_LATENT]
        largest = np.abs(directions).argmax(axis=1, keepdims=True)
        directions = directions * np.sign(np.take_along_axis(directions, largest, axis=1))  # else the sign is anybody's
        self._projection = np.ascontiguousarray(directions.T, dtype=np.float32)
        # Another linear algebra may find other directions: then the name is another one as well.
        learned = np.round(self._projection, 2).astype(np.float16).tobytes()
        digest = hashlib.sha256("\n".join(texts).encode() + learned).hexdigest()[:12]
        self.name = f"latent_ngrams_1_{digest}"

    def embed(self, texts: Sequence[str]) -> Vectors:
        vectors = np.zeros((len(texts), self._projection.shape[1]), dtype=np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            buckets, counts = _hashed(text)
            vector += (counts * self._rarity[buckets]) @ self._projection[buckets]
        return of_unit_length(vectors)


def of_unit_length(vectors: Vectors) -> Vectors:
    """[N, D] -> rows of unit length; rows of zeros stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1.0), dtype=np.float32)


def features_of(text: str) -> Mapping[str, float]:
    """Features of a text with their weights; repetitions count by their root."""
    terms = terms_of(text)
    found: dict[str, float] = {}
    for kind, weight, features in (
        ("w", _WORD, Counter(terms)),
        ("p", _PAIR, Counter(f"{a} {b}" for a, b in itertools.pairwise(terms))),
        ("n", _PIECE, Counter(piece for term in terms for piece in _pieces(term))),
        ("c", _CONCEPT, Counter(concepts_in(terms))),
    ):
        found |= {f"{kind}:{feature}": weight * count**0.5 for feature, count in features.items()}
    return found


def concepts_in(terms: Sequence[str]) -> Iterable[str]:
    """Names of the concepts that stemmed terms mention, once for each mention."""
    known = _concepts()
    for place in range(len(terms)):
        for num in (1, 2, 3):
            yield from known.get(tuple(terms[place : place + num]), ()) if place + num <= len(terms) else ()


@functools.cache
def _concepts() -> Mapping[tuple[str, ...], tuple[str, ...]]:
    """Stemmed phrase -> the concepts that it stands for."""
    text = resources.files("cognition").joinpath("concepts.yaml").read_text(encoding="utf-8")
    found: dict[tuple[str, ...], tuple[str, ...]] = {}
    for name, phrases in yaml.safe_load(text).items():
        for phrase in phrases:
            terms = tuple(terms_of(phrase))
            assert 1 <= len(terms) <= 3, f"concepts.yaml: {name}: {phrase!r} has {len(terms)} terms, not 1 to 3"
            if name not in found.get(terms, ()):
                found[terms] = (*found.get(terms, ()), name)
    return found


def _pieces(term: str) -> Iterable[str]:
    padded = f"<{term}>"
    for length in _PIECES:
        yield from (padded[place : place + length] for place in range(len(padded) - length + 1))


@functools.lru_cache(maxsize=1 << 13)
def _hashed(text: str) -> tuple[NDArray[np.int64], Vectors]:
    """A text's features as distinct buckets and the weight in each."""
    found: dict[int, float] = {}
    for feature, weight in features_of(text).items():
        bucket = _digest(feature) % _NUM_BUCKETS
        found[bucket] = found.get(bucket, 0.0) + weight
    return np.fromiter(found, dtype=np.int64), np.fromiter(found.values(), dtype=np.float32)


@functools.lru_cache(maxsize=1 << 18)
def _digest(feature: str) -> int:
    return zlib.crc32(feature.encode())
