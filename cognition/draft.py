"""YAML of a paper for people to review: skeletons that say what belongs where, and what an extractor found."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from cognition.library import LENGTHS, TOPICS
from cognition.printable import one_line as one_line
from cognition.printable import printable as printable

WIDTH = 110
_BREAK_AFTER = 90  # where PyYAML breaks lines: at the first space behind it
TODO = "TODO"

# One line for each field of a paper and of an entry: comments of a skeleton, and what an extractor is told.
PAPER_FIELDS: Mapping[str, str] = {
    "title": "as it is printed",
    "identifier": "arXiv:2406.06484 or doi:10.1000/x; '' where it has none",
    "year": "of the first version",
    "topic": f"one of {', '.join(TOPICS)}",
    "extends": "ids of papers in the library that it builds on, as [delta_net]; contradicts, supersedes likewise",
    "entries": "one to three: what matters most of the paper, one idea each",
}
ENTRY_FIELDS: Mapping[str, str] = {
    "name": "of the idea: lower case letters, digits and _",
    "slots": "where it can be used: token_mixer, channel_mixer",
    "trigger": "the symptom in an experiment that makes it worth trying, as an analysis would state it, not the remedy",
    "wordings": "two to four other ways to state the same symptom, each a sentence",
    "insight": "the idea, and why it helps against the symptom",
    "mechanism": "how it works, exactly enough to be built",
    "equation": "the recurrence or formula in plain text, S_t = ...",
    "implementation": "with shapes [B, T, H, K] and operators, within forward(x) of [B, T, D]",
    "operators": "of kernels.dispatch that compute it, as [delta_rule, causal_conv]; [] where none does",
    "cost": "compute and memory in training, as O(T C K) per head",
    "state": "what decoding keeps of one layer and one sequence, as H * K * V floats",
    "failure_modes": "when it does not help, what breaks, how to notice",
}
_DEFAULTS: Mapping[str, list[str]] = {"slots": ["token_mixer"], "wordings": [], "operators": []}
_RELATIONS = ("extends", "contradicts", "supersedes")


class _Dumper(yaml.SafeDumper):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)  # lists stand inside their key


def skeleton(title: str, identifier: str, year: int | None, header: Sequence[str]) -> str:
    """A file with TODO wherever somebody has to write; the library refuses it until then."""
    values: dict[str, Any] = {
        "title": title or TODO,
        "identifier": identifier,
        "year": year or TODO,
        "topic": TODO,
        "extends": [],
    }
    lines = [_comment(line) for line in header]
    for name, value in values.items():
        lines += [_comment(PAPER_FIELDS[name]), _item(name, value)]
    lines += [_comment(PAPER_FIELDS["entries"]), "entries:\n"]
    fields = [
        _comment(_with_length(name, told)) + _item(name, _DEFAULTS.get(name, TODO), indent=4)
        for name, told in ENTRY_FIELDS.items()
    ]
    return "".join(lines) + _as_entry("".join(fields))


def filled(values: Mapping[str, Any], header: Sequence[str], notes: Mapping[str, str]) -> str:
    """A paper's values with a header, and a comment above the fields that `notes` names."""
    lines = [_comment(line) for line in header]
    for name in ("title", "identifier", "year", "topic", *_RELATIONS):
        if name in values:
            lines += [_comment(notes[name]) if name in notes else "", _item(name, values[name])]
    lines.append("entries:\n")
    for entry in values["entries"]:
        lines.append(_as_entry("".join(_item(name, entry[name], indent=4) for name in ENTRY_FIELDS if name in entry)))
    return "".join(lines)


def _with_length(name: str, told: str) -> str:
    return f"{told} ({LENGTHS[name][0]} to {LENGTHS[name][1]} characters)" if name in LENGTHS else told


def _item(name: str, value: Any, *, indent: int = 0) -> str:
    """One key with its value as YAML, texts in blocks; `indent`: how far it will be moved to the right."""
    if name in LENGTHS and isinstance(value, str) and value != TODO:
        return _block(name, value, WIDTH - indent - 2)
    if isinstance(value, str):
        value = one_line(value)
    elif isinstance(value, list | tuple):
        value = [text for text in map(one_line, value) if text]
    flow = name in ("slots", "operators", *_RELATIONS) or value == []
    return yaml.dump(
        {name: value},
        Dumper=_Dumper,
        width=_BREAK_AFTER - indent,
        allow_unicode=True,
        default_flow_style=None if flow else False,
        sort_keys=False,
    )


def _block(name: str, text: str, width: int) -> str:
    """A block scalar: literal for equations, folded for prose. PyYAML's own breaks lines only behind the width."""
    exact = name == "equation"
    lines: list[str] = []
    for line in text.strip().splitlines() if exact else [text]:
        lines += textwrap.wrap(
            printable(line).rstrip() if exact else one_line(line),
            width,
            subsequent_indent="    " if exact else "",
            break_long_words=False,
            break_on_hyphens=False,
        ) or [""]
    lines[0] = lines[0].lstrip()
    return f"{name}: {'|-' if exact else '>-'}\n" + textwrap.indent("\n".join(lines), "  ") + "\n"


def _as_entry(fields: str) -> str:
    """The fields of an entry as an item of the list: two spaces, a dash, and what follows in line with it."""
    lines = textwrap.indent(fields, "    ").splitlines(keepends=True)
    first = next(place for place, line in enumerate(lines) if not line.lstrip().startswith("#"))
    lines[:first] = [line[2:] for line in lines[:first]]
    lines[first] = f"  - {lines[first][4:]}"
    return "".join(lines)


def _comment(text: str) -> str:
    """One comment, whatever is in it: names of files and models may hold line ends."""
    return "".join(f"# {line}\n" for line in textwrap.wrap(one_line(text), WIDTH, break_long_words=False))
