"""YAML of others, read as plain data: bounded in size and depth, without aliases, anchors and tags.

A few hundred bytes of aliases stand for billions of values, and tags ask for types that nobody expects.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from cognition.printable import one_line

MOST_BYTES = 1_000_000  # of a file; the longest of the shipped library has 13,000
_DEEPEST = 16  # collections within each other; a paper's file has four
# libyaml where PyYAML has it: ten times as fast.
_LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class NotPlain(ValueError):
    """Text or file that is not plain YAML; the message says what is wrong and where, not in which file."""


def read_yaml(path: Path) -> Any:
    """The values of a file.

    Raises:
        NotPlain: it cannot be opened, is too large, not UTF-8, or as `parse_yaml`.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise NotPlain(error.strerror or str(error)) from error
    if len(data) > MOST_BYTES:
        raise NotPlain(f"it has more than {MOST_BYTES:,} bytes: keep what matters")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotPlain(f"it is not UTF-8 text (byte {error.start}): save it as UTF-8") from error
    return parse_yaml(text)


def parse_yaml(text: str) -> Any:
    """The values of a text: mappings, lists, texts, numbers, dates, null.

    Raises:
        NotPlain: it is no YAML, or has aliases, anchors, tags, a value that cannot be, or is nested too deeply.
    """
    try:
        _require_plain(text)
        return yaml.load(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}: " if mark is not None else ""
        told = ", ".join(part for part in (error.context, error.problem) if part)
        raise NotPlain(f"{where}{one_line(told)[:200]}") from error
    except yaml.YAMLError as error:
        raise NotPlain(one_line(str(error))[:200]) from error
    except NotPlain:
        raise
    except (ValueError, ArithmeticError) as error:  # PyYAML's own, for 2024-13-45 or a number of 5,000 digits
        told = one_line(str(error).split(";")[0])[:120]
        raise NotPlain(f"a value looks like a date or a number and is none ({told}): mend or quote it") from error
    except (RecursionError, MemoryError) as error:
        raise NotPlain(f"it is too large or nested too deeply ({type(error).__name__}): make it simpler") from error


def _require_plain(text: str) -> None:
    """By events, before any value is made of them."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        line = event.start_mark.line + 1 if event.start_mark is not None else 0
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise NotPlain(f"line {line}: aliases and anchors are not read: write it out, or quote what has & or *")
        if getattr(event, "tag", None) is not None:
            raise NotPlain(f"line {line}: tags are not read: leave it out, or quote what begins with !")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _DEEPEST:
                raise NotPlain(f"line {line}: it is nested more than {_DEEPEST} deep: make it simpler")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.ScalarEvent) and any("\ud800" <= letter <= "\udfff" for letter in event.value):
            raise NotPlain(f"line {line}: half of a surrogate pair is no character: mend the escape \\ud800 to \\udfff")
