"""A person, or any coding agent, as a researcher: it finds a brief in a folder and leaves a .py file there.

    inbox/0007.0/brief.md     what is asked for: contract, parent, history, evidence
    inbox/0007.0/ANYTHING.py  the answer; the first docstring line is taken for its motivation
    inbox/0007.0/outcome.md   afterwards: what came of it

A folder stands for one number and attempt. A file is taken when it has not changed for a moment, so that it may be
written in place. Nothing in the folder is executed here.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import hashlib
import os
import time
from pathlib import Path
from string import Template

from agents.brief import Brief, Evidence
from agents.prompting import Section, fenced, prompt_file, trimmed
from agents.protocols import NoProposal
from agents.replies.fences import defines
from agents.telling import curve_line, evidence_text, failed_line, figures, insight_line, member_line, one_line
from cognition.records import Candidate, candidate_id_of

_POLL_S = 0.2
_SETTLED_S = 0.5
_LARGEST = 1_000_000  # bytes
_ROOM = 60_000  # characters of a brief


class InboxProposer:
    """Writes a brief, waits for a file, reads it.

    Args:
        folder: the inbox; it has to be one that whoever answers can write to.
        timeout_s: how long an answer may take.
    """

    def __init__(self, folder: Path, timeout_s: float = 86_400.0) -> None:
        self._folder, self._timeout_s = folder, timeout_s

    async def propose(self, brief: Brief) -> Candidate:
        """The file that answers the brief. Raises NoProposal after the time-out."""
        return await self._answered(brief, brief.attempt, _brief_text(brief), None)

    async def repair(self, candidate: Candidate, evidence: Evidence, brief: Brief) -> Candidate:
        """The file that answers the evidence. Raises NoProposal after the time-out."""
        text = _brief_text(brief) + "\n\n## Your last attempt\n\n" + evidence_text(evidence)
        text += "\n\n" + fenced(candidate.source) + "\n"
        return await self._answered(brief, candidate.attempt + 1, text, candidate)

    async def _answered(self, brief: Brief, attempt: int, text: str, mended: Candidate | None) -> Candidate:
        place = place_of(self._folder, brief.number, attempt)
        deadline = time.monotonic() + self._timeout_s
        await _written(place / "brief.md", text, deadline)
        path = await self._file_in(place, brief.entry, deadline)
        source = path.read_text()
        name = mended.name if mended and path.stem in ("answer", "mixer") else path.stem
        return Candidate(
            candidate_id=candidate_id_of(source),
            number=brief.number,
            attempt=attempt,
            arm=mended.arm if mended else brief.arm,
            slot=brief.slot,
            name=one_line(name, 80),
            motivation=_motivation(source),
            source=source,
            parent_ids=_parents(brief, mended),
            repairs=mended.candidate_id if mended else None,
            mode=brief.mode,
            created_at=brief.now,
        )

    async def _file_in(self, place: Path, entry: str, deadline: float) -> Path:
        """The first .py file, by name, that can be taken; files that cannot are told about once."""
        told: set[str] = set()
        looks = _Looks()
        while True:
            for path in sorted(place.glob("*.py")):
                wrong = _wrong_with(path, entry, looks)
                if wrong is None:
                    return path
                mark = f"{path.name}: {wrong}"
                if wrong and mark not in told:
                    told.add(mark)
                    with (
                        contextlib.suppress(OSError),
                        (place / "complaints.md").open("a", encoding="utf-8", errors="replace") as file,
                    ):
                        file.write(f"- {mark}\n")
            if time.monotonic() > deadline:
                raise NoProposal(f"no file came into {place} within {self._timeout_s:g} s")
            await asyncio.sleep(_POLL_S)


def place_of(inbox: Path, number: int, attempt: int) -> Path:
    """The folder of one number and attempt."""
    return inbox / f"{number:04d}.{attempt}"


def brief_in(inbox: Path, number: int, attempt: int) -> str:
    """The brief of one number and attempt, as it stands there; empty where there is none."""
    path = place_of(inbox, number, attempt) / "brief.md"
    return path.read_text(errors="replace") if path.is_file() else ""


def tell_outcome(inbox: Path, candidate: Candidate, text: str) -> None:
    """Leave what came of an attempt beside its brief; nothing where nobody was asked, or the disk is full."""
    place = place_of(inbox, candidate.number, candidate.attempt)
    if place.is_dir():
        with contextlib.suppress(OSError):
            (place / "outcome.md").write_text(f"# {candidate.name}\n\n{text}\n")


class _Looks:
    """Which files have stayed as they are for a moment: by what was seen, since their times are another clock's."""

    def __init__(self) -> None:
        self._seen: dict[Path, tuple[tuple[int, int], float]] = {}

    def settled(self, path: Path, found: os.stat_result) -> bool:
        now, state = time.monotonic(), (found.st_size, found.st_mtime_ns)
        if path not in self._seen or self._seen[path][0] != state:
            self._seen[path] = (state, now)
        return now - self._seen[path][1] >= _SETTLED_S


async def _written(path: Path, text: str, deadline: float) -> None:
    """Write a file, waiting where the disk is full or the folder cannot be written. Raises NoProposal in the end."""
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise NoProposal(f"{path} cannot be written: {error}") from error
        await asyncio.sleep(_POLL_S)


def _wrong_with(path: Path, entry: str, looks: _Looks) -> str | None:
    """None: it can be taken. "": not yet. Else what is wrong with it."""
    try:
        found = path.lstat()
        if not path.is_file() or path.is_symlink():
            return "it is no plain file"
        if not looks.settled(path, found):
            return ""
        if found.st_size > _LARGEST:
            return f"it has {found.st_size} bytes; {_LARGEST} are allowed"
        source = path.read_text()
    except OSError:
        return ""
    except UnicodeDecodeError:
        return "it is not UTF-8 text"
    digest = hashlib.sha256(source.encode()).hexdigest()[:8]
    return None if defines(source, entry) else f"it does not parse or has no class {entry} (text {digest})"


def _motivation(source: str) -> str:
    return ast.get_docstring(ast.parse(source)) or "dropped into the inbox"


def _parents(brief: Brief, mended: Candidate | None) -> tuple[str, ...]:
    if mended is not None:
        return mended.parent_ids
    return tuple(parent.candidate.candidate_id for parent in brief.parents[:1])


def _brief_text(brief: Brief) -> str:
    """The brief for whoever reads: the same that a model is told, contract included."""
    task = prompt_file(f"researcher_{brief.mode if brief.parents else 'explore'}").body
    sections = [
        Section(
            title=f"The parent: candidate {m.candidate.number}, {m.candidate.name}",
            items=[
                f"Measured: {figures(m)}\n\nIts {curve_line(brief.curves.get(m.candidate.candidate_id, ()))}\n\n"
                + fenced(m.candidate.source)
            ],
        )
        for m in brief.parents[:2]
    ]
    if brief.weakness:
        sections.append(
            Section(title="What measures weak about it", items=[one_line(brief.weakness, 1500)], priority=1)
        )
    if brief.synthesis is not None:
        sections.append(Section(title="What the campaign has taught so far", items=[brief.synthesis.text], priority=1))
    sections += [
        Section(
            title="From the literature",
            items=[f"[{item.key}] {item.title}\n{item.text}\n" for item in brief.knowledge],
            priority=1,
        ),
        Section(title="Findings", items=[insight_line(i) for i in brief.insights], priority=1),
        Section(title="Tried so far", items=[member_line(m) for m in brief.history[::-1]], priority=2),
        Section(title="Refused or broken", items=[failed_line(f) for f in brief.failures[::-1]], priority=3),
    ]
    kept = trimmed(sections, _ROOM) or sections[:2]
    shown = "\n\n".join(f"## {s.title}\n\n" + "\n".join(s.items) for s in kept)
    head = (
        f"# Number {brief.number}: write a .py file with class {brief.entry} into this folder\n\n"
        "What comes of it will be in outcome.md. A file that cannot be read is named in complaints.md.\n\n"
    )
    task = Template(task).substitute(sections="", number=str(brief.number)).strip()
    return head + shown + "\n\n" + task + "\n\n## The contract\n\n" + brief.contract
