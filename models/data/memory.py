"""A corpus held in memory: bytes of text files, each file in one split."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.data.files import rank, source_files, unreadable
from models.data.spec import DataSpec
from models.data.tokens import TokenArray

_MIN_FILES = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TextFiles:
    """Read-only arrays of bytes by split, the files in each, and the SHA-256 over names, splits and contents."""

    arrays: dict[str, TokenArray]
    names: dict[str, list[str]]
    digest: str


def read_files(spec: DataSpec) -> TextFiles:
    """Read, cap and split; the same files and spec give the same arrays and digest.

    Files are ranked by a hash of their relative path: a share goes to validation, as many to heldout (one at least),
    the rest to train. A cap keeps files in another hashed order, so that it is a fair sample, and cuts the last short.

    Raises:
        ValueError: the folder is missing, holds fewer than three text files, or one cannot be read.
    """
    contents = _capped(source_files(spec), spec)
    if len(contents) < _MIN_FILES:
        raise ValueError(
            f"data.source {spec.source!r} gives {len(contents)} text files within max_bytes {spec.max_bytes}; "
            f"splitting by file takes at least {_MIN_FILES}, better 100: add files, raise the cap, or cut a large one "
            "('split -n l/100 FILE')"
        )
    order = sorted(contents, key=lambda name: rank("split", name, spec.seed))
    num_held = max(1, round(len(order) * spec.held_share))
    names = {
        "validation": sorted(order[:num_held]),
        "heldout": sorted(order[num_held : 2 * num_held]),
        "train": sorted(order[2 * num_held :]),
    }
    digest = hashlib.sha256()
    arrays: dict[str, TokenArray] = {}
    for split in sorted(names):
        for name in names[split]:
            digest.update(f"{split}\0{name}\0{len(contents[name])}\0".encode())
            digest.update(contents[name])
        arrays[split] = np.frombuffer(b"".join(contents[name] for name in names[split]), dtype=np.uint8)
    return TextFiles(arrays=arrays, names=names, digest=digest.hexdigest())


def _capped(files: dict[str, Path], spec: DataSpec) -> dict[str, bytes]:
    caps = [cap for cap in (spec.max_bytes, spec.max_tokens) if cap is not None]  # a byte is a token here
    contents: dict[str, bytes] = {}
    left = min(caps)
    for name, path in files.items():
        try:
            text = path.read_bytes()[:left]
        except OSError as error:
            raise unreadable(path, error) from error
        if text:
            contents[name] = text
            left -= len(text)
        if left == 0:
            break
    return contents
