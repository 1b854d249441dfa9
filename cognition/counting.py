"""Words of documents, counted: BM25 over documents that come and go one by one.

The Lucene variant (Robertson and Zaragoza 2009; Lu 2024, arXiv:2407.03618) as bm25s computes it, whose index is made at
once and cannot grow: making it anew for 100,000 documents takes seconds. Here a document is known as soon as it was
added and costs its own words only; scores are worked out for the words that are asked for.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_K1 = 1.5  # how soon a word's repetitions stop to count
_B = 0.75  # how much a long text's words count less


class WordCounts:
    """Terms of documents, which are known by their place. Not safe for use by several threads.

    Scores are those of an index that holds the documents that were not dropped and never held another.
    """

    def __init__(self) -> None:
        self._places: dict[str, array[int]] = {}  # by term: where it stands, ascending; dropped ones stay
        self._counts: dict[str, array[float]] = {}  # beside them: how often
        self._num_holding: Counter[str] = Counter()  # documents, without dropped ones
        self._lengths = array("f")
        self._num_documents = 0  # without dropped ones
        self._num_terms = 0  # in them

    def add(self, terms: Sequence[str]) -> None:
        """The next document."""
        place = len(self._lengths)
        self._lengths.append(len(terms))
        self._num_documents += 1
        self._num_terms += len(terms)
        for term, count in Counter(terms).items():
            places = self._places.get(term)
            if places is None:
                places, self._counts[term] = self._places.setdefault(term, array("i")), array("f")
            places.append(place)
            self._counts[term].append(count)
            self._num_holding[term] += 1

    def drop(self, terms: Sequence[str]) -> None:
        """A document counts no more; `terms` are those that it was added with. Its place keeps a score to ignore."""
        self._num_documents -= 1
        self._num_terms -= len(terms)
        for term in set(terms):
            self._num_holding[term] -= 1

    def scores(self, terms: Sequence[str]) -> NDArray[np.float32]:
        """[N]: relevance of every place to a query; 0 where it shares no term."""
        scores = np.zeros(len(self._lengths), dtype=np.float32)
        if self._num_documents == 0 or self._num_terms == 0:
            return scores
        relative = np.array(self._lengths) * np.float32(self._num_documents / self._num_terms)
        damping = np.float32(_K1) * (np.float32(1 - _B) + np.float32(_B) * relative)
        for term, repeated in Counter(terms).items():
            num_holding = self._num_holding[term] if term in self._places else 0
            if num_holding == 0:
                continue
            rarity = math.log(1 + (self._num_documents - num_holding + 0.5) / (num_holding + 0.5))
            places, counts = np.array(self._places[term]), np.array(self._counts[term])
            scores[places] += np.float32(repeated * rarity) * counts / (counts + damping[places])
        return scores
