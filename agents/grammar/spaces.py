"""The spaces that there are, by slot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agents.grammar.channel_mixer.space import CHANNEL_MIXERS
from agents.grammar.space import Space
from agents.grammar.token_mixer.space import TOKEN_MIXERS

SPACES: Mapping[str, Space[Any]] = {space.slot: space for space in (TOKEN_MIXERS, CHANNEL_MIXERS)}


def space_of(slot: str) -> Space[Any]:
    """The designs of a slot; ValueError names the slots that the grammar can write for."""
    if slot not in SPACES:
        raise ValueError(
            f"the grammar has no designs for slot {slot!r}, only for {', '.join(SPACES)}: give it a space, "
            "or use arms that bring their own sources"
        )
    return SPACES[slot]
