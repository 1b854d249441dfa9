"""Texts as they may go to terminals, prompts and files: nothing in them that nobody sees."""

from __future__ import annotations

import re
import reprlib
from typing import Any

# Marks and fillers without a shape that str.isprintable lets pass: joiners, variation selectors, Hangul fillers.
_SHAPELESS = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_LONGEST = 80
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _LONGEST


def is_seen(letter: str) -> bool:
    """Whether a character is one that readers see: no control, format, surrogate, private or unassigned one."""
    return letter.isprintable() and not _SHAPELESS.match(letter)


def first_unseen(text: str, *, but: str = "") -> int | None:
    """The place of the first character that nobody sees, `but` for these; None where there is none."""
    return next((place for place, letter in enumerate(text) if letter not in but and not is_seen(letter)), None)


def printable(text: str) -> str:
    """With spaces for all that cannot be printed: files and terminals take some of it for orders."""
    return "".join(letter if is_seen(letter) else " " for letter in text)


def one_line(text: str) -> str:
    """Printable, with single spaces."""
    return " ".join(printable(text).split())


def shown(value: Any) -> str:
    """A value as messages quote it: its repr, cut to 80 characters, whatever is in it."""
    try:
        text = printable(_REPR.repr(value))
    except ValueError:  # Python writes no integer of more than 4,300 digits
        return f"a {type(value).__name__} too long to show"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
