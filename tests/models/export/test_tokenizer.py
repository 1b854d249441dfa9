"""Tokenisers that AutoTokenizer loads give the ids that were trained on, whatever the text spells."""

from __future__ import annotations

import pytest

from models.data.tokenization import BYTES, END_OF_DOCUMENT, Tokenizer, train_bpe
from models.export.tokenizer import end_id, write_tokenizer

TEXTS = [
    "def f(x):\n\treturn x  # \u00e9",
    f"spelled {END_OF_DOCUMENT} within",
    "\u0100\u010a \x00",
    "",
    " two  spaces ",
]


@pytest.mark.parametrize("name", ["bytes", "bpe"])
def test_ids_and_texts_are_those_of_training(name, tmp_path):
    from transformers import PreTrainedTokenizerFast

    tokenizer = BYTES if name == "bytes" else train_bpe([text.encode() * 20 for text in TEXTS], 300)
    write_tokenizer(tmp_path, tokenizer)
    loaded = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    end = tokenizer.end_of_document
    for text in TEXTS:
        ids = tokenizer.encode([text.encode()]).tokens.tolist()
        trained = ids if end is None else ids[:-1]  # training ends every document
        assert loaded(text)["input_ids"] == trained
        assert loaded.decode(trained) == text
    assert len(loaded) == tokenizer.vocab_size
    assert loaded.eos_token_id == loaded.pad_token_id == end_id(tokenizer)


def test_what_would_add_tokens_or_cut_text_is_left_out(tmp_path):
    from tokenizers import Tokenizer as Loaded
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    trained = train_bpe([b"some text " * 50], 260)
    assert trained.definition is not None
    other = Loaded.from_str(trained.definition)
    other.post_processor = processors.TemplateProcessing(
        single=f"{END_OF_DOCUMENT} $A", special_tokens=[(END_OF_DOCUMENT, 0)]
    )
    other.enable_truncation(4)
    write_tokenizer(tmp_path, Tokenizer(name="file", definition=other.to_str()))
    loaded = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    assert len(loaded("some text some text")["input_ids"]) > 4
    assert 0 not in loaded("some text")["input_ids"]
