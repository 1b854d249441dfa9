"""What a corpus is made of, as a user states it: source, tokeniser, caps, splits. See docs/data.md."""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

DATA_FOLDER = Path(__file__).resolve().parents[2] / "conf" / "data"
STDLIB = "stdlib"
HUB = "hf:"
TOKENIZERS = ("bytes", "bpe", "gpt2", "file")
TEXT_SUFFIXES = (".txt", ".md", ".py")
RECORD_SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")  # many documents to a file
MEMORY_BYTES = 1 << 28
"""The line: `bytes` of text files up to this cap are held in memory, everything else is packed into shards."""

_MIN_BPE = 257  # all bytes and the end of a document
_HUB_KEYS = ("config", "data_files", "revision")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSpec:
    """Where text comes from. `seed` decides which files a cap keeps and which split a document falls into."""

    source: str = STDLIB  # "stdlib", a folder or file, or "hf:NAME" of a Hugging Face dataset
    tokenizer: str = "bytes"
    vocab_size: int | None = None  # of a `bpe` trained here
    tokenizer_file: str | None = None  # a tokenizer.json: for `file`, and for `gpt2` without a network
    column: str = "text"  # of JSONL, Parquet and Hugging Face rows
    config: str | None = None  # of a Hugging Face dataset
    split: str = "train"  # of a Hugging Face dataset: what is read of it; our splits are cut from that
    data_files: str | None = None  # of a Hugging Face dataset, for "hf:parquet" and the like
    revision: str | None = None  # of a Hugging Face dataset
    max_bytes: int | None = 4_000_000  # of text, over all splits; null: no cap
    max_tokens: int | None = None  # over all splits; null: no cap
    held_share: float = 0.05  # of the documents, each for validation and heldout
    seed: int = 0
    cache: str | None = None  # where shards lie; null: the user's cache folder

    def __post_init__(self) -> None:
        if not self.source or self.source == HUB:
            raise ValueError(f"data.source is {self.source!r}, empty; give 'stdlib', a folder, a file or 'hf:NAME'")
        if self.tokenizer not in TOKENIZERS:
            raise ValueError(f"data.tokenizer is {self.tokenizer!r}; use one of {', '.join(TOKENIZERS)}")
        for name in ("max_bytes", "max_tokens"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"data.{name} is {value}; give a number above 0, or null for no cap")
        if not 0 < self.held_share < 0.5:
            raise ValueError(f"data.held_share is {self.held_share}; give a share above 0 and below 0.5")
        if not self.column:
            raise ValueError("data.column is empty; name the one that holds the text")
        self._check_tokenizer()
        if not self.is_hub and (told := [name for name in _HUB_KEYS if getattr(self, name) is not None]):
            raise ValueError(
                f"data.{told[0]} is for Hugging Face datasets, data.source is {self.source!r}: leave it out"
            )

    def _check_tokenizer(self) -> None:
        if self.tokenizer == "bpe" and (self.vocab_size is None or self.vocab_size < _MIN_BPE):
            raise ValueError(
                f"data.vocab_size is {self.vocab_size}; a bpe holds every byte and an end of document: give "
                f"{_MIN_BPE} or more"
            )
        if self.tokenizer != "bpe" and self.vocab_size is not None:
            raise ValueError(
                f"data.vocab_size is {self.vocab_size} and data.tokenizer {self.tokenizer!r}, whose vocabulary is "
                "fixed: leave it out, or use data.tokenizer=bpe"
            )
        if self.tokenizer == "file" and not self.tokenizer_file:
            raise ValueError(
                "data.tokenizer is 'file' and data.tokenizer_file empty: give the path of a tokenizer.json"
            )
        if self.tokenizer in ("bytes", "bpe") and self.tokenizer_file:
            raise ValueError(
                f"data.tokenizer_file is {self.tokenizer_file!r} and data.tokenizer {self.tokenizer!r}: leave it out, "
                "or use data.tokenizer=file"
            )

    @property
    def is_hub(self) -> bool:
        return self.source.startswith(HUB)


def in_memory(spec: DataSpec) -> bool:
    """Whether the corpus is read into memory, and nothing written: bytes of plain text files up to MEMORY_BYTES."""
    if spec.tokenizer != "bytes" or spec.is_hub or spec.max_bytes is None or spec.max_bytes > MEMORY_BYTES:
        return False
    if spec.source == STDLIB:
        return True
    root = Path(spec.source).expanduser()
    if root.is_file():
        return False
    return not any(path.name.endswith(RECORD_SUFFIXES) and path.is_file() for path in root.rglob("*"))


def load_spec(name: str, overrides: Sequence[str] = ()) -> DataSpec:
    """A spec from conf/data/NAME.yaml, or from the YAML file at that path, with `key=value` overrides.

    Raises:
        ValueError: no such file, an unknown key, a value of the wrong type, or one that the spec refuses.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else DATA_FOLDER / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(entry.stem for entry in DATA_FOLDER.glob("*.yaml")))
        raise ValueError(f"no data named {name!r} ({path}); there are {known}, or give the path of a YAML file")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no YAML ({' '.join(str(error).split())}): mend it") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds {values!r}; give a mapping of names to values")
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise ValueError(f"{override!r} is no key=value; write max_tokens=1000000 for instance")
        values[key.removeprefix("data.")] = yaml.safe_load(value)
    return _spec_of(values)


def _spec_of(values: Mapping[str, Any]) -> DataSpec:
    hints = typing.get_type_hints(DataSpec)
    for key, value in values.items():
        if key not in hints:
            raise ValueError(f"unknown key data.{key}; known are {', '.join(hints)}")
        if value == "???":
            raise ValueError(f"data.{key} has no value: add {key}=...")
        wanted = typing.get_args(hints[key]) or (hints[key],)
        if isinstance(value, bool) or not isinstance(value, (*wanted, int) if float in wanted else wanted):
            names = " or ".join(
                {int: "a whole number", float: "a number", str: "a text"}.get(t, "null") for t in wanted
            )
            raise ValueError(f"data.{key} is {value!r}: {names} is needed")
    return DataSpec(**values)
