"""A corpus: three splits that share no document, held in memory or mapped from shards. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from models.data.batches import text_batches, windows
from models.data.index import SPLIT_NAMES, verify
from models.data.memory import read_files
from models.data.packing import pack
from models.data.spec import DataSpec, in_memory
from models.data.tokenization import BYTES, Tokenizer, tokenizer_in
from models.data.tokens import PackedTokens, Tokens
from models.scale import Stage


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Corpus:
    """Three splits that share no document. The tokens are read-only."""

    train: Tokens
    validation: Tokens
    heldout: Tokens
    vocab_size: int
    tokenizer: Tokenizer
    digest: str  # SHA-256 over splits and contents, and over names in memory, over the tokeniser when packed

    def split(self, name: str) -> Tokens:
        splits = {"train": self.train, "validation": self.validation, "heldout": self.heldout}
        if name not in splits:
            raise ValueError(f"a corpus has no split {name!r}; use one of {', '.join(splits)}")
        return splits[name]


@lru_cache(maxsize=4)
def load_corpus(spec: DataSpec) -> Corpus:
    """The corpus of a spec: the same sources and spec give the same tokens and digest.

    Bytes of text files are read into memory (models.data.memory); all else is mapped from shards that are packed at
    the first call, which can take long (models.data.packing), and verified by size and by both ends of every file.

    Raises:
        ValueError: the source cannot be read or is too small to split, or shards do not hold what was packed.
    """
    if in_memory(spec):
        files = read_files(spec)
        return Corpus(**files.arrays, vocab_size=256, tokenizer=BYTES, digest=files.digest)
    found = pack(spec)
    verify(found.folder, found.index)
    tokens = {
        name: PackedTokens.mapped(found.index.paths(found.folder, name), found.index.dtype) for name in SPLIT_NAMES
    }
    return Corpus(
        **tokens,
        vocab_size=found.index.vocab_size,
        tokenizer=tokenizer_in(found.folder, spec.tokenizer),
        digest=found.index.digest,
    )


def require_enough(corpus: Corpus, stage: Stage, seed: int) -> None:
    """Check before anything is trained that a corpus can serve a stage.

    Raises:
        ValueError: a split is too small for the stage's windows, or the vocabulary too large for its model.
    """
    if corpus.vocab_size > stage.size.vocab_size:
        raise ValueError(
            f"stage {stage.name}: the corpus has a vocabulary of {corpus.vocab_size} tokens, the model's "
            f"size.vocab_size is {stage.size.vocab_size}: raise it, or choose a smaller data.tokenizer or "
            "data.vocab_size"
        )
    for split in ("train", stage.split):
        try:
            if split == "train":
                text_batches(corpus.train, stage.batch_size, stage.length, seed)
            else:
                windows(corpus.split(split), stage.eval_windows, stage.length, seed)
        except ValueError as error:
            raise ValueError(f"stage {stage.name}, {split} data: {error}") from error
