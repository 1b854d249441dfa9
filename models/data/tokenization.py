"""Text to token ids: bytes, a byte-level BPE trained on the corpus, GPT-2's, or any tokenizer.json."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models.data.index import TOKENIZER
from models.data.spec import DataSpec
from models.data.tokens import TokenArray

if TYPE_CHECKING:
    import tokenizers

END_OF_DOCUMENT = "<|endoftext|>"
BPE_TRAINING_BYTES = 1 << 27
"""A BPE is trained on the first documents of the training split, up to this many bytes."""

_ENDS = (END_OF_DOCUMENT, "<|end_of_text|>", "</s>", "<eos>")
_GPT2_VOCAB = 50_257


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Encoded:
    """Token ids of documents, one after the other; D documents."""

    tokens: TokenArray
    lengths_D: NDArray[np.int64]
    num_replaced: int  # documents with bytes that are no UTF-8, which became U+FFFD


@dataclass(frozen=True, kw_only=True)
class Tokenizer:
    """A vocabulary and how text becomes ids; `definition` is a tokenizer.json, or None where each byte is a token."""

    name: str
    definition: str | None

    @property
    def vocab_size(self) -> int:
        return 256 if self.definition is None else self._loaded.get_vocab_size()

    @property
    def dtype(self) -> str:
        """The smallest number format that holds every id."""
        return next(name for name in ("uint8", "uint16", "uint32") if self.vocab_size <= np.iinfo(name).max + 1)

    @cached_property
    def end_of_document(self) -> int | None:
        """The id after every document; bytes have none."""
        if self.definition is None:
            return None
        return next((found for end in _ENDS if (found := self._loaded.token_to_id(end)) is not None), None)

    @property
    def digest(self) -> str:
        return hashlib.sha256((self.definition or self.name).encode()).hexdigest()

    def encode(self, texts: Sequence[bytes]) -> Encoded:
        """Ids of the documents. Text that spells a special token stays text."""
        if self.definition is None:
            ids: TokenArray = np.frombuffer(b"".join(texts), dtype=np.uint8)
            return Encoded(tokens=ids, lengths_D=np.array([len(text) for text in texts], np.int64), num_replaced=0)
        decoded, num_replaced = _decoded(texts)
        end = [] if self.end_of_document is None else [self.end_of_document]
        rows = [[*found.ids, *end] for found in self._loaded.encode_batch_fast(decoded, add_special_tokens=False)]
        lengths_D = np.array([len(row) for row in rows], np.int64)
        ids = np.fromiter((number for row in rows for number in row), self.dtype, count=int(lengths_D.sum()))
        return Encoded(tokens=ids, lengths_D=lengths_D, num_replaced=num_replaced)

    @cached_property
    def _loaded(self) -> tokenizers.Tokenizer:
        from tokenizers import Tokenizer as Loaded  # here and not above: children of the sandbox need none of it

        assert self.definition is not None
        loaded = Loaded.from_str(self.definition)
        loaded.encode_special_tokens = True
        loaded.no_truncation()
        loaded.no_padding()
        return loaded


BYTES = Tokenizer(name="bytes", definition=None)


def tokenizer_in(folder: Path, name: str) -> Tokenizer:
    """The tokeniser that a packed corpus was made with. Raises ValueError where its file cannot be read."""
    if name == BYTES.name:
        return BYTES
    return Tokenizer(name=name, definition=_text_of_file(str(folder / TOKENIZER)))


def identity(spec: DataSpec) -> str:
    """What tells two tokenisers apart before either is loaded or trained. Raises ValueError for an unreadable file."""
    if spec.tokenizer_file:
        return f"{spec.tokenizer} {hashlib.sha256(_text_of_file(spec.tokenizer_file).encode()).hexdigest()}"
    return f"{spec.tokenizer} {spec.vocab_size}" if spec.vocab_size else spec.tokenizer


def ready(spec: DataSpec) -> Tokenizer | None:
    """The tokeniser that the spec names; None for a BPE, which has yet to be trained.

    Raises:
        ValueError: its files cannot be had, or are no such tokeniser.
    """
    if spec.tokenizer == "bytes":
        return BYTES
    if spec.tokenizer == "bpe":
        return None
    definition = _text_of_file(spec.tokenizer_file) if spec.tokenizer_file else _gpt2_from_hub()
    tokenizer = loaded(spec.tokenizer, definition, spec.tokenizer_file or "the hub's gpt2")
    if spec.tokenizer == "gpt2" and (tokenizer.vocab_size != _GPT2_VOCAB or tokenizer.end_of_document is None):
        raise ValueError(
            f"{spec.tokenizer_file} has {tokenizer.vocab_size} tokens, GPT-2's has {_GPT2_VOCAB}, {END_OF_DOCUMENT} "
            "among them: give GPT-2's tokenizer.json, or use data.tokenizer=file"
        )
    return tokenizer


def loaded(name: str, definition: str, where: str) -> Tokenizer:
    """A tokeniser from the text of a tokenizer.json. Raises ValueError when it is none."""
    tokenizer = Tokenizer(name=name, definition=definition)
    try:
        tokenizer.encode([b"a"])
    except Exception as error:  # the library raises nothing narrower
        raise ValueError(f"{where} is no tokenizer.json ({error}): give one that `tokenizers` can load") from error
    return tokenizer


def train_bpe(texts: Iterable[bytes], vocab_size: int) -> Tokenizer:
    """A byte-level BPE (Sennrich et al. 2016, arXiv 1508.07909; over bytes as in GPT-2) with an end of document, id 0.

    The same texts in the same order give the same tokens. Fewer than `vocab_size` where the texts hold no more pairs.
    """
    from tokenizers import Tokenizer as Untrained
    from tokenizers import decoders, models, pre_tokenizers, trainers

    untrained = Untrained(models.BPE())
    untrained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    untrained.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_DOCUMENT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    untrained.train_from_iterator((text.decode("utf-8", "replace") for text in texts), trainer)
    return Tokenizer(name="bpe", definition=untrained.to_str())


def _decoded(texts: Sequence[bytes]) -> tuple[list[str], int]:
    decoded, num_replaced = [], 0
    for text in texts:
        try:
            decoded.append(text.decode())
        except UnicodeDecodeError:
            decoded.append(text.decode("utf-8", "replace"))
            num_replaced += 1
    return decoded, num_replaced


def _text_of_file(path: str) -> str:
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"data.tokenizer_file {path!r} cannot be read ({error}): give a tokenizer.json") from error


def _gpt2_from_hub() -> str:
    from tokenizers import Tokenizer as Loaded

    try:
        found: Any = Loaded.from_pretrained("gpt2")
    except Exception as error:  # the library raises nothing narrower
        raise ValueError(
            f"GPT-2's tokenizer cannot be had from the hub ({str(error).splitlines()[0][:200]}): connect once (it is "
            "cached), or download tokenizer.json of huggingface.co/gpt2 and set data.tokenizer_file=PATH, or use "
            "data.tokenizer=bpe data.vocab_size=8192"
        ) from error
    return str(found.to_str())
