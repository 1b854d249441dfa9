"""The tokeniser of a corpus as files that AutoTokenizer loads, with the ids that were trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from models.data import DataSpec, pack
from models.data.index import TOKENIZER
from models.data.tokenization import BYTES, Tokenizer, loaded

_ZERO = "\u0100"  # how byte-level vocabularies write the byte 0, which ends and pads byte sequences: text has none


def write_tokenizer(folder: Path, tokenizer: Tokenizer) -> None:
    """tokenizer.json and tokenizer_config.json. Text that spells a special token stays text, as in training."""
    definition, end = _bytes() if tokenizer.definition is None else _plain(tokenizer)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": True,
        "eos_token": end,
        "pad_token": end,
    }
    (folder / "tokenizer.json").write_text(definition, encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def end_id(tokenizer: Tokenizer) -> int | None:
    """The id that ends a document; bytes have none in text, and 0 stands for it."""
    return 0 if tokenizer.definition is None else tokenizer.end_of_document


def _bytes() -> tuple[str, str]:
    from tokenizers import Tokenizer as Built
    from tokenizers import decoders, models, pre_tokenizers

    letters = _letters()
    built = Built(models.BPE(vocab={letter: byte for byte, letter in enumerate(letters)}, merges=[]))
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    built.decoder = decoders.ByteLevel()
    return built.to_str(pretty=True), _ZERO


def _letters() -> list[str]:
    """How byte-level vocabularies write each byte: as itself where it is printable, else from U+0100 on (GPT-2)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


def _plain(tokenizer: Tokenizer) -> tuple[str, str | None]:
    """Without what would add tokens or cut: documents were encoded without."""
    assert tokenizer.definition is not None
    told: dict[str, Any] = json.loads(tokenizer.definition)
    if (told.get("post_processor") or {}).get("type") != "ByteLevel":
        told["post_processor"] = None
    told["truncation"] = told["padding"] = None
    end = tokenizer.end_of_document
    named = {item["id"]: item["content"] for item in told.get("added_tokens", [])}
    return json.dumps(told, ensure_ascii=False), None if end is None else named.get(end)


def tokenizer_of(spec: DataSpec) -> Tokenizer:
    """The tokeniser that a corpus was made with; packs the corpus where that was never done.

    Raises:
        ValueError: as packing does.
    """
    if spec.tokenizer == "bytes":
        return BYTES
    found = pack(spec).folder / TOKENIZER
    return loaded(spec.tokenizer, found.read_text(encoding="utf-8"), str(found))
