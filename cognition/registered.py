"""What other packages hand in: extractors and embedders, found by their entry points.

`cognition` knows no language model. Whoever has one declares a factory in its pyproject.toml:

    [project.entry-points."cognition.extractors"]
    mine = "my_lab.reading:extractor"
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

EXTRACTORS = "cognition.extractors"  # factory(Wish) -> adding.Extractor | None, where no model is to be had
EMBEDDERS = "cognition.embedders"  # factory(Wish) -> embedding.Embedder
BUILT_IN = "llm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a factory is asked for."""

    model: str | None  # None: whatever there is
    budget_usd: float  # the most that it may spend
    price: tuple[float, float] | None = None  # of input and output, US dollars per million tokens; None: as listed


class NotRegistered(ValueError):
    """Nobody has declared what was asked for, or it does not load; the message says what to do."""


def registered(group: str, name: str = BUILT_IN, among: Iterable[EntryPoint] | None = None) -> Any:
    """The factory that a package has declared under a name.

    Args:
        among: entry points to look through; None: those of everything that is installed.

    Raises:
        NotRegistered: there is none, or its module cannot be imported.
    """
    points = [point for point in (entry_points(group=group) if among is None else among) if point.group == group]
    found = next((point for point in points if point.name == name), None)
    if found is None:
        known = ", ".join(sorted({point.name for point in points})) or "none"
        remedy = "install the project again (`python -m pip install -e .`): its entry points are newer than what is"
        raise NotRegistered(
            f"no {name!r} is registered in {group} (known: {known}): "
            + (f"{remedy} installed" if name == BUILT_IN else f"use one of these, or declare it as {group}")
        )
    try:
        return found.load()
    except (ImportError, AttributeError) as error:
        raise NotRegistered(
            f"{group}: {found.name} = {found.value!r} cannot be loaded ({error}): install what it needs"
        ) from error
