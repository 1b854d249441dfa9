"""The labelled pairs: designs that a researcher would call the same, or different, by kind.

The label says what a researcher would say of the designs. Half of each kind sets thresholds ("tune"), the other half
tells how good they are ("test").
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.novelty.designs import designs, grammar_design, grammar_mutant
from tests.novelty.rewrites import OTHER, SAME, rewrites
from tests.novelty.transforms import TRANSFORMS

RENAMED, REORDERED, SILENT = "renamed", "reordered", "constant_without"
_MECHANICAL = (
    ("renamed", RENAMED),
    ("reordered", REORDERED),
    ("scaled_by_one", SILENT),
    ("with_unused", SILENT),
    ("copied_input", "refactored"),
)
_ONE_OF = 3  # each mechanical transform takes every third design, another third each
_PUBLISHED = (
    ("delta_net", "gated_delta_net"),
    ("gated_delta_net", "kimi_delta_attention"),
    ("retnet", "gla"),
    ("linear_attention", "grammar/hgrn2"),
    ("channel/swiglu", "channel/geglu"),
    ("channel/reglu", "channel/relu2_mlp"),
    ("hier_gate_net", "ada_multi_path_gate_net"),
    ("fla/gated_delta", "gated_delta_net"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two designs and whether they are one."""

    name: str
    kind: str
    same: bool
    first: str
    second: str
    slot: str
    split: str  # "tune" or "test"


def pairs() -> Sequence[Pair]:
    """Every labelled pair, in an order that does not change."""
    bases = designs()
    found: list[tuple[str, str, str, bool, str]] = []  # base, name, kind, same, second source
    for place, (base, source) in enumerate(bases.items()):
        for number, (transform, kind) in enumerate(_MECHANICAL):
            if (place + number) % _ONE_OF == 0:
                second = TRANSFORMS[transform](source, random.Random(f"{base}/{transform}"))
                found.append((base, f"{base}: {transform}", kind, True, second))
    for rewrite in rewrites():
        second = rewrite(bases[rewrite.base])
        found.append((rewrite.base, f"{rewrite.base}: {rewrite.what}", rewrite.kind, SAME[rewrite.kind], second))
    for one, other in _PUBLISHED:
        found.append((one, f"{one} and {other}", OTHER, False, bases[other]))
    for seed in range(6):
        assert bases[f"grammar/{seed}"] == grammar_design(seed)
        found.append((f"grammar/{seed}", f"grammar/{seed}: one gene changed", OTHER, False, grammar_mutant(seed)))
    return _split(bases, found)


def _split(bases: Mapping[str, str], found: Sequence[tuple[str, str, str, bool, str]]) -> Sequence[Pair]:
    """Every other pair of a kind to each half."""
    seen: Counter[str] = Counter()
    made = []
    for base, name, kind, same, second in found:
        assert bases[base] != second, name
        made.append(
            Pair(
                name=name,
                kind=kind,
                same=same,
                first=bases[base],
                second=second,
                slot="channel_mixer" if base.startswith("channel/") else "token_mixer",
                split="tune" if seen[kind] % 2 == 0 else "test",
            )
        )
        seen[kind] += 1
    assert len({pair.name for pair in made}) == len(made), "two pairs of one name"
    return made


def num_bases() -> int:
    """Designs that take part."""
    return len({pair.first for pair in pairs()})
