"""Prompts: versioned .md files, filled with sections that are trimmed by priority, never inside an item.

A file has a front matter with its version; its body is a `string.Template`. A prompt is two files: `ROLE_system.md`,
which never changes within a campaign (contract and reply format, so that providers can cache it), and `ROLE_TASK.md`.
Who changes a file raises its version: rows keep the version and the text of every prompt.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from string import Template

from agents.llm.wire import Message

CHARACTERS_PER_TOKEN = 3  # of code and prose together, on the careful side


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One part of what an agent is told.

    `items` are kept or left out whole, the last ones first; a section of a higher priority number is trimmed before one
    of a lower; priority 0 is never trimmed.
    """

    title: str
    items: Sequence[str]
    priority: int = 0
    intro: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What is sent: the system text and the question."""

    name: str  # "role/task"
    version: str  # "system.task"
    system: str
    user: str

    @property
    def messages(self) -> tuple[Message, ...]:
        return ({"role": "system", "content": self.system}, {"role": "user", "content": self.user})


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptFile:
    """One .md file."""

    version: int
    body: str


def prompt_of(
    role: str,
    task: str,
    sections: Sequence[Section],
    *,
    fixed: Mapping[str, str] | None = None,
    values: Mapping[str, str] | None = None,
    max_tokens: int,
    system: str = "system",
) -> Prompt:
    """The prompt of a role's task.

    Args:
        sections: in the order in which they are read.
        fixed: what the system file is filled with.
        values: what the task file is filled with, beside `sections`.
        max_tokens: about so many at most, system text included.
        system: the system file, where the role has another one for the task.

    Raises:
        ValueError: what may not be trimmed is longer than that; it names the setting to raise.
    """
    system_file, task_file = prompt_file(f"{role}_{system}"), prompt_file(f"{role}_{task}")
    system = Template(system_file.body).substitute(fixed or {}).strip()
    empty = Template(task_file.body).substitute({**(values or {}), "sections": ""})
    room = max_tokens * CHARACTERS_PER_TOKEN - len(system) - len(empty)
    kept = trimmed(sections, room)
    if kept is None:
        needed = sum(len(_shown(section)) for section in sections if section.priority == 0)
        raise ValueError(
            f"the prompt {role}/{task} needs about {(needed + len(system) + len(empty)) // CHARACTERS_PER_TOKEN} "
            f"tokens and may have {max_tokens}: raise llm.roles.{role}.max_input_tokens"
        )
    text = Template(task_file.body).substitute({**(values or {}), "sections": "\n\n".join(map(_shown, kept))})
    return Prompt(
        name=f"{role}/{task}",
        version=f"{system_file.version}.{task_file.version}",
        system=system,
        user=text.strip(),
    )


def trimmed(sections: Sequence[Section], room: int) -> Sequence[Section] | None:
    """The sections with items left out until their text has at most `room` characters; None where that cannot be."""
    kept = [section for section in sections if section.items]
    while sum(len(_shown(section)) + 2 for section in kept) > room:
        place = max(range(len(kept)), key=lambda place: (kept[place].priority, place), default=None)
        if place is None or kept[place].priority == 0:
            return None
        section = kept[place]
        if len(section.items) > 1:
            kept[place] = Section(
                title=section.title, items=section.items[:-1], priority=section.priority, intro=section.intro
            )
        else:
            del kept[place]
    return kept


def correction(complaint: str) -> str:
    """What a model is told whose reply could not be read."""
    return Template(prompt_file("correction").body).substitute(complaint=complaint).strip()


@functools.cache
def prompt_file(name: str) -> PromptFile:
    """A file of agents/prompts.

    Raises:
        ValueError: it has no version.
    """
    text = (resources.files("agents") / "prompts" / f"{name}.md").read_text()
    found = re.fullmatch(r"---\nversion: (\d+)\n---\n(.*)", text, flags=re.S)
    if found is None:
        raise ValueError(f"agents/prompts/{name}.md has no version: begin it with ---, version: N, ---")
    return PromptFile(version=int(found.group(1)), body=found.group(2))


def fenced(code: str, language: str = "python") -> str:
    """Code in a fence that it cannot close."""
    fence = "```"
    while fence in code:
        fence += "`"
    return f"{fence}{language}\n{code.strip()}\n{fence}"


def _shown(section: Section) -> str:
    head = f"## {section.title}\n\n" + (f"{section.intro}\n\n" if section.intro else "")
    return head + "\n".join(section.items)
