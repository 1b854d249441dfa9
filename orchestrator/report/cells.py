"""Cells and tables of Markdown. Text that candidates wrote is data, and shown as such."""

from __future__ import annotations

import re
from collections.abc import Sequence

from orchestrator.wording import short

_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|<>~$&-])")
_ESCAPED = {"<": "&lt;", ">": "&gt;", "&": "&amp;", "-": "-", "+": "+", "(": "(", ")": ")", "#": "#", "!": "!"}


def grid(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; cells are ready to be shown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def text(told: str) -> str:
    """Anybody's text as one line of Markdown that means nothing but itself, in HTML as well."""
    return _SPECIAL.sub(lambda found: _ESCAPED.get(found[1], "\\" + found[1]), short(told, 400))


def number(value: float | None, digits: int = 4) -> str:
    """A figure, or a dash where there is none."""
    return "-" if value is None else f"{value:,.{digits}f}"


def bounds(value: float | None, low: float | None, high: float | None, *, sign: bool = True) -> str:
    """A figure with its interval, as far as there is one."""
    form = "+.4f" if sign else ".4f"
    if value is None:
        return "-"
    return f"{value:{form}}" + (f" [{low:{form}}, {high:{form}}]" if low is not None and high is not None else "")


def share(part: int, whole: int, low: float | None = None, high: float | None = None) -> str:
    """How many of how many, with the interval of the share."""
    if not whole:
        return "-"
    return f"{part} of {whole}" + (f" [{low:.0%}, {high:.0%}]" if low is not None and high is not None else "")
