from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.data import DataSpec
from models.data.tokenization import BYTES, END_OF_DOCUMENT, Tokenizer, identity, loaded, ready, train_bpe

TEXTS = [f"the state of the gate decays, {number} times, caf\u00e9".encode() for number in range(50)]


@pytest.fixture(scope="module")
def bpe() -> Tokenizer:
    return train_bpe(TEXTS, 300)


def split_up(tokenizer: Tokenizer, *texts: bytes) -> list[list[int]]:
    found = tokenizer.encode(texts)
    return [part.tolist() for part in np.split(found.tokens, np.cumsum(found.lengths_D)[:-1])]


def gpt2_like(path: Path, num_tokens: int) -> str:
    """A tokenizer.json of GPT-2's kind and size, whose merges are its own."""
    definition = json.loads(train_bpe(TEXTS, 300).definition or "")
    vocab = definition["model"]["vocab"]
    vocab.update({f"filler{number}": number for number in range(len(vocab), num_tokens)})
    path.write_text(json.dumps(definition))
    return str(path)


def test_bytes_are_their_own_tokens():
    assert split_up(BYTES, b"ab", b"\xff") == [[97, 98], [255]]
    assert (BYTES.vocab_size, BYTES.dtype, BYTES.end_of_document) == (256, "uint8", None)


def test_a_bpe_gives_back_the_text_with_an_end_after_each_document(bpe: Tokenizer):
    first, second = split_up(bpe, TEXTS[0], b"\x00 unseen \xf0\x9f\xa6\x89")
    assert first[-1] == second[-1] == bpe.end_of_document == 0
    assert len(first) < len(TEXTS[0]) / 2
    assert bpe._loaded.decode(second[:-1]) == "\x00 unseen \U0001f989"
    assert (bpe.vocab_size, bpe.dtype) == (300, "uint16")


def test_text_that_spells_the_end_of_a_document_is_text(bpe: Tokenizer):
    (ids,) = split_up(bpe, f"a{END_OF_DOCUMENT}b".encode())
    assert ids.count(0) == 1
    assert ids[-1] == 0


def test_undecodable_bytes_are_replaced_and_counted(bpe: Tokenizer):
    found = bpe.encode([b"fine", b"not \xff fine"])
    assert found.num_replaced == 1
    assert bpe._loaded.decode(found.tokens[found.lengths_D[0] : -1].tolist()) == "not \ufffd fine"


def test_the_same_texts_train_the_same_bpe_in_another_process_with_other_threads(bpe: Tokenizer):
    code = f"from models.data.tokenization import train_bpe\nprint(train_bpe({TEXTS!r}, 300).digest)"
    environment = {**os.environ, "RAYON_NUM_THREADS": "3", "PYTHONHASHSEED": "5"}
    seen = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    assert seen.stdout.strip() == bpe.digest
    assert train_bpe(TEXTS[1:], 300).digest != bpe.digest


def test_a_small_text_gives_fewer_tokens_than_were_asked_for():
    assert 257 < train_bpe([b"ab ab ab"], 1_000).vocab_size < 300


def test_gpt2_is_taken_from_a_file(tmp_path: Path):
    tokenizer = ready(DataSpec(tokenizer="gpt2", tokenizer_file=gpt2_like(tmp_path / "tokenizer.json", 50_257)))
    assert tokenizer is not None
    assert (tokenizer.name, tokenizer.vocab_size, tokenizer.dtype) == ("gpt2", 50_257, "uint16")


def test_another_tokenizer_is_not_taken_for_gpt2(tmp_path: Path):
    path = gpt2_like(tmp_path / "tokenizer.json", 1_000)
    with pytest.raises(ValueError, match=r"has 1000 tokens, GPT-2's has 50257.*tokenizer=file"):
        ready(DataSpec(tokenizer="gpt2", tokenizer_file=path))
    found = ready(DataSpec(tokenizer="file", tokenizer_file=path))
    assert found is not None
    assert found.vocab_size == 1_000


def test_large_vocabularies_take_four_bytes(tmp_path: Path):
    path = gpt2_like(tmp_path / "tokenizer.json", (1 << 16) + 1)
    found = ready(DataSpec(tokenizer="file", tokenizer_file=path))
    assert found is not None
    assert found.dtype == "uint32"


def test_a_file_that_is_no_tokenizer_is_refused(tmp_path: Path):
    path = tmp_path / "tokenizer.json"
    with pytest.raises(ValueError, match=r"cannot be read.*tokenizer.json"):
        ready(DataSpec(tokenizer="file", tokenizer_file=str(path)))
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"is no tokenizer.json"):
        ready(DataSpec(tokenizer="file", tokenizer_file=str(path)))


def test_identity_follows_the_file_and_the_size(tmp_path: Path, bpe: Tokenizer):
    path = tmp_path / "tokenizer.json"
    path.write_text(bpe.definition or "")
    spec = DataSpec(tokenizer="file", tokenizer_file=str(path))
    before = identity(spec)
    path.write_text(gpt2_like(tmp_path / "other.json", 400))
    assert identity(spec) != before
    assert identity(DataSpec(tokenizer="bpe", vocab_size=300)) != identity(DataSpec(tokenizer="bpe", vocab_size=301))


def test_a_definition_survives_being_stored(bpe: Tokenizer):
    again = loaded("bpe", bpe.definition or "", "here")
    assert again.digest == bpe.digest
    assert split_up(again, TEXTS[3]) == split_up(bpe, TEXTS[3])
