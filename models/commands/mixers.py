"""Mixers by name or file, as the command line names them; and `list`, which prints the names."""

from __future__ import annotations

import argparse
import ast
from dataclasses import dataclass
from pathlib import Path

from models.entry import defined, read_source, with_entry
from models.slots import SLOTS, TOKEN_MIXER, Slot, published_source, slot_named


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A candidate's text and what to call it."""

    name: str
    source: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `list`."""
    add_slot(parser)


def run(options: argparse.Namespace) -> int:
    """Print every name of the slot with its kind and the first line of its text."""
    slot = slot_named(options.slot)
    kinds = (("ceiling", slot.ceilings), ("baseline", slot.baselines), ("discovery", slot.discoveries))
    for kind, names in kinds:
        for name in names:
            title = (ast.get_docstring(ast.parse(published_source(slot.name, name))) or "").splitlines()[0]
            role = "reference" if name == slot.reference else kind
            print(f"{name:<26}{role:<11}{title.partition(': ')[2] or title}")
    return 0


def add_slot(parser: argparse.ArgumentParser) -> None:
    """The option that names the slot."""
    parser.add_argument("--slot", choices=tuple(SLOTS), default="token_mixer", help="the place that is filled")


def named(slot: Slot, text: str) -> Named:
    """What a name, or a file as `mixer.py` or `mixer.py:Class`, stands for.

    Names are matched without regard to case, hyphens and underscores: gated_deltanet is gated_delta_net.

    Raises:
        ValueError: neither a published name nor a file that can be read.
    """
    known = {_plain(name): name for name in slot.published}
    if name := known.get(_plain(text)):
        return Named(name=name, source=published_source(slot.name, name))
    path, _, entry = text.partition(":")
    if path.endswith(".py"):
        file = Path(path)
        return Named(name=file.stem, source=candidate_text(read_file(file), entry or None, slot.entry))
    raise ValueError(f"{text!r} is no mixer of slot {slot.name} and no .py file; there are {', '.join(slot.published)}")


def slot_of(source: str, entry: str | None = None) -> Slot:
    """The slot whose entry class the text defines, or `entry` names; where it is none or several, that of tokens."""
    names = defined(source) if entry is None else {entry}
    found = [slot for slot in SLOTS.values() if slot.entry in names]
    return found[0] if len(found) == 1 else SLOTS[TOKEN_MIXER]


def read_file(path: Path) -> str:
    """A file's text. Raises ValueError where it cannot be read."""
    try:
        return read_source(path)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror or error}): name a Python file") from error


def candidate_text(source: str, entry: str | None, wanted: str) -> str:
    """The text with its entry; one that does not parse or has no class goes as it is, for the gate to refuse."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return source
    if entry is None and not any(isinstance(node, ast.ClassDef) for node in ast.walk(tree)):
        return source
    return with_entry(source, entry, wanted)


def _plain(name: str) -> str:
    return name.casefold().replace("_", "").replace("-", "")
