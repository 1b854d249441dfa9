"""Long texts of candidates and papers in Markdown: shown as they are, not obeyed."""

from __future__ import annotations

import textwrap

from orchestrator.report.cells import text

_PIECE = 400  # characters, no more than `text` shows


def whole(told: str) -> str:
    """One line that means nothing but itself, as `text` makes it, of which nothing is cut.

    Put words of ours before it: at the beginning of a line some marks would still count.
    """
    return " ".join(map(text, textwrap.wrap(told, _PIECE)))
