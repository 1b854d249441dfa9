"""How many pairs, of which grammar, and how they become token windows.

No torch: Ray workers import this. Shapes: P pairs, N = 2 P windows, T time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import cycle, islice
from typing import TYPE_CHECKING

import numpy as np

from models.batch import IGNORED, Batch
from models.mappings import require_counts
from models.minimal_pairs import english, python_source
from models.minimal_pairs.words import Pair

if TYPE_CHECKING:
    from models.data.tokenization import Tokenizer

PAIRS = "minimal_pairs"
CHANCE = 0.5
AUTO = "auto"
GRAMMARS: Mapping[str, Mapping[str, Callable[[np.random.Generator], Pair]]] = {
    "python": python_source.PHENOMENA,
    "english": english.PHENOMENA,
}
_STREAM = 2  # under the seed: apart from what probes draw
_NEWLINE = b"\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSpec:
    """Minimal pairs of a stage; the score is called `minimal_pairs_accuracy`."""

    num: int = 360  # pairs, shared out evenly among the grammar's phenomena
    grammar: str = AUTO  # "python", "english"; auto: python where the corpus is the standard library
    in_benchmark: bool = False  # whether the mean accuracy that enters the fitness counts it beside the probes

    def __post_init__(self) -> None:
        require_counts(self, "num")
        if self.num < 2:
            raise ValueError(f"minimal_pairs.num is {self.num}; 2 at least, or there is no standard error")
        if self.grammar not in (AUTO, *GRAMMARS):
            raise ValueError(f"minimal_pairs.grammar is {self.grammar!r}; use one of {AUTO}, {', '.join(GRAMMARS)}")
        if not isinstance(self.in_benchmark, bool):
            raise ValueError(f"minimal_pairs.in_benchmark is {self.in_benchmark!r}; use true or false")

    def texts(self, seed: int, *, is_source_code: bool) -> list[Pair]:
        """The pairs, phenomenon after phenomenon in turn; the same seed gives the same.

        Args:
            is_source_code: of the corpus: what `auto` goes by.
        """
        name = self.grammar if self.grammar != AUTO else "python" if is_source_code else "english"
        rng = np.random.default_rng([seed, _STREAM])
        return [phenomenon(rng) for phenomenon in islice(cycle(GRAMMARS[name].values()), self.num)]


def pair_set(pairs: list[Pair], tokenizer: Tokenizer) -> Batch:
    """[N, T] windows: the acceptable text of pair i at 2 i, the other at 2 i + 1; behind a text nothing counts.

    Each stands at the beginning of a document, behind the end of another one, or behind a line's end where the
    tokeniser has no end of documents.
    """
    end = tokenizer.end_of_document
    before = [int(tokenizer.encode([_NEWLINE]).tokens[0])] if end is None else [end]
    texts = [text.encode() for pair in pairs for text in (pair.good, pair.bad)]
    encoded = tokenizer.encode(texts)
    rows = np.split(encoded.tokens.astype(np.int64), np.cumsum(encoded.lengths_D)[:-1])
    rows = [np.concatenate([before, row if end is None else row[:-1]]) for row in rows]
    longest = max(map(len, rows)) - 1
    inputs_NT = np.full((len(rows), longest), before[0], dtype=np.int64)
    targets_NT = np.full((len(rows), longest), IGNORED, dtype=np.int64)
    for place, row in enumerate(rows):
        inputs_NT[place, : len(row) - 1] = row[:-1]
        targets_NT[place, : len(row) - 1] = row[1:]
    return Batch(inputs_NT, targets_NT)
