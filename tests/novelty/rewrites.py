"""Rewrites by hand: what a person would call the same design in other words, and what is another design."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

REFACTORED, FUSED, SILENT, EFFECT, OTHER = "refactored", "fused", "constant_without", "constant_with", "different"
SAME: Mapping[str, bool] = {REFACTORED: True, FUSED: True, SILENT: True, EFFECT: False, OTHER: False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewrite:
    """One rewrite of a base design; replacements are (old, new) texts."""

    base: str
    what: str
    kind: str
    replacements: Sequence[tuple[str, str]]

    def __call__(self, source: str) -> str:
        """The rewritten source. Raises ValueError where an old text is not in it any more."""
        for old, new in self.replacements:
            if old not in source:
                raise ValueError(f"{self.base}, {self.what}: {old!r} is not in it; adapt tests/novelty/rewrites.yaml")
            source = source.replace(old, new)
        return source


def rewrites() -> Sequence[Rewrite]:
    """All of tests/novelty/rewrites.yaml."""
    text = Path(__file__).with_name("rewrites.yaml").read_text(encoding="utf-8")
    return [
        Rewrite(
            base=base,
            what=row["what"],
            kind=row["kind"],
            replacements=[(item["old"], item["new"]) for item in row["replace"]],
        )
        for base, rows in yaml.safe_load(text).items()
        for row in rows
    ]
