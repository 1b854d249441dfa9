"""What a campaign knows when it starts: settings, the library that they name, insights that are carried over."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass

from cognition.folders import Folder, folder_at
from cognition.library import Library, LibraryError, load_library
from cognition.reader import Reader
from cognition.records import Event, Insight
from cognition.retrieval import RetrievalSettings
from orchestrator.errors import UsageError

KNOWN = "known"  # the event that says that a store holds what was known at the first start


@dataclass(frozen=True, slots=True, kw_only=True)
class CognitionSettings:
    """What is known when a campaign starts, and how much of it a proposal is told."""

    shipped: bool = True  # the shipped library
    papers: tuple[str, ...] = ()  # a lab's own folders
    from_runs: tuple[str, ...] = ()  # run folders whose insights are carried over
    num_entries: int = 4
    num_insights: int = 12
    diversity: float = 0.15

    def __post_init__(self) -> None:
        for name, value in (("num_entries", self.num_entries), ("num_insights", self.num_insights)):
            if not 0 <= value <= 100:
                raise ValueError(f"cognition.{name} is {value}: use a number from 0 to 100")
        RetrievalSettings(diversity=self.diversity)


def library_of(settings: CognitionSettings) -> Library:
    """The shipped library together with the lab's folders.

    Raises:
        UsageError: a folder or a file that is not as it should be.
    """
    try:
        return load_library(settings.papers, shipped=settings.shipped)
    except LibraryError as error:
        raise UsageError(f"cognition.papers: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What a campaign knows when it starts."""

    library: Library
    insights: tuple[Insight, ...]  # carried over


def known_at_first(settings: CognitionSettings, folder: Folder) -> Known | None:
    """What the settings name; None where an earlier start has written it to the run's store, so that it counts.

    Raises:
        UsageError: a folder, a file or a run that is not as it should be.
    """
    try:
        if any(event.kind == KNOWN for event in Reader(folder).rows(Event)):
            return None
    except (ValueError, OSError):
        pass  # there is no store yet
    return Known(library=library_of(settings), insights=carried_from(settings))


def carried_from(settings: CognitionSettings) -> tuple[Insight, ...]:
    """Every insight of earlier runs, under an id of its own and with the run in which it was measured.

    Superseded ones come along: what is pooled later rests on all of them.

    Raises:
        UsageError: a run that is not there or cannot be read, or two of one name.
    """
    folders: dict[str, Folder] = {}
    carried: dict[str, Insight] = {}
    for place in settings.from_runs:
        try:
            folder = folder_at(place)
            if folder.path is not None:
                folder = folder_at(folder.path.resolve())
            name = folder.name
            if (other := folders.setdefault(name, folder)).place != folder.place:
                raise UsageError(f"{other} and {folder} have one name: rename one of the folders")
            insights = Reader(folder).rows(Insight)
        except (ValueError, OSError) as error:
            raise UsageError(f"cognition.from_runs: {error}") from error
        for insight in insights:
            run = insight.from_run or name
            key = insight.insight_id if insight.from_run else _carried_id(run, insight.insight_id)
            carried.setdefault(key, dataclasses.replace(insight, insight_id=key, from_run=run))
    return tuple(carried.values())


def _carried_id(run: str, insight_id: str) -> str:
    """The same source may be trained again here, and what that teaches has its own id."""
    return hashlib.sha256(f"{run}\n{insight_id}".encode()).hexdigest()[:16]
