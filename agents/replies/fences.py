"""Fenced blocks of a reply, in the ways in which models get them wrong."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

# Three or more of one mark, then the language; quotes are no fence, but models use them as one.
_OPENING = re.compile(r"^[ \t]*(`{3,}|~{3,}|'{3,})[ \t]*([A-Za-z0-9_+-]*)[^\n`]*$")
_START = re.compile(r"^(import |from \w[\w.]* import |class |@|def )")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One fenced block; `closed` is false where the reply ends in it."""

    language: str
    text: str
    closed: bool = True


def blocks_in(reply: str) -> tuple[Block, ...]:
    """All fenced blocks, in order. A fence closes with at least as many of its own marks."""
    found: list[Block] = []
    lines = reply.replace("\r\n", "\n").split("\n")
    place = 0
    while place < len(lines):
        opening = _OPENING.match(lines[place])
        if opening is None:
            place += 1
            continue
        mark, language = opening.group(1), opening.group(2).lower()
        closing = re.compile(rf"^[ \t]*{re.escape(mark[0])}{{{len(mark)},}}[ \t]*$")
        inside: list[str] = []
        place += 1
        while place < len(lines) and not closing.match(lines[place]):
            inside.append(lines[place])
            place += 1
        found.append(Block(language=language, text="\n".join(inside), closed=place < len(lines)))
        place += 1
    return tuple(found)


def before_blocks(reply: str) -> str:
    """The prose in front of the first block."""
    lines: list[str] = []
    for line in reply.replace("\r\n", "\n").split("\n"):
        if _OPENING.match(line):
            break
        lines.append(line)
    return "\n".join(lines).strip()


def module_in(reply: str, entry: str) -> str | None:
    """The Python module of a reply that defines class `entry`: a fenced block, or else code in the prose.

    The last block that parses and defines the class counts; where none does, the last that looks like Python, so that
    its error can be told.
    """
    candidates = [block.text for block in blocks_in(reply) if block.language in ("", "python", "py", "python3")]
    whole = [text for text in candidates if defines(text, entry)]
    if whole:
        return whole[-1].strip() + "\n"
    if (loose := _loose_module(reply, entry)) is not None:
        return loose
    looks = [text for text in candidates if f"class {entry}" in text or "nn.Module" in text]
    return looks[-1].strip() + "\n" if looks else None


def defines(text: str, entry: str) -> bool:
    """Whether the text parses as Python and has the class at its top level."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(isinstance(node, ast.ClassDef) and node.name == entry for node in tree.body)


def _loose_module(reply: str, entry: str) -> str | None:
    """Code without fences: from a line that starts like a module, as far as it parses."""
    lines = reply.replace("\r\n", "\n").split("\n")
    if not any(line.startswith(f"class {entry}") for line in lines):
        return None
    starts = [place for place, line in enumerate(lines) if _START.match(line)]
    for start in starts[:8]:
        end = len(lines)
        while end > start:
            text = "\n".join(lines[start:end])
            try:
                ast.parse(text)
            except SyntaxError as error:
                # Prose behind the code: cut at the line that does not parse, and look again.
                end = start + min(end - start - 1, (error.lineno or 1) - 1)
                continue
            except (ValueError, RecursionError, MemoryError):
                return None
            if defines(text, entry):
                return text.strip() + "\n"
            break
    return None
