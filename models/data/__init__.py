"""Text for training and evaluation: sources, tokenisers, packed shards, and the order in which windows are read."""

from models.batch import Batch
from models.data.batches import batch_at, text_batches, windows
from models.data.corpus import Corpus, load_corpus, require_enough
from models.data.packing import pack
from models.data.spec import STDLIB, DataSpec, in_memory, load_spec
from models.data.tokens import PackedTokens, Tokens, handed_tokens, layout_of

__all__ = [
    "STDLIB",
    "Batch",
    "Corpus",
    "DataSpec",
    "PackedTokens",
    "Tokens",
    "batch_at",
    "handed_tokens",
    "in_memory",
    "layout_of",
    "load_corpus",
    "load_spec",
    "pack",
    "require_enough",
    "text_batches",
    "windows",
]
