"""What the field knows of the slot, as far as it is published here: what baselines and discoveries say of it."""

from __future__ import annotations

import ast
from functools import cache

import numpy as np

from agents.brief import Knowledge
from models.slots import published_source, slot_named

_NUM_QUOTED = 5


def knowledge_for(slot: str, rng: np.random.Generator) -> tuple[Knowledge, ...]:
    """A few pieces, drawn afresh for each proposal."""
    known = _published(slot)
    num = min(_NUM_QUOTED, len(known))
    return tuple(known[int(place)] for place in sorted(rng.choice(len(known), size=num, replace=False)))


@cache
def _published(slot: str) -> tuple[Knowledge, ...]:
    found = []
    for name in slot_named(slot).published:
        told = ast.get_docstring(ast.parse(published_source(slot, name)))
        if told:
            title, _, rest = told.partition("\n")
            found.append(Knowledge(key=name, title=title.strip(), text=rest.strip()))
    return tuple(found)
