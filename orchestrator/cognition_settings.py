"""What a campaign knows when it starts: settings, the library that they name, insights that are carried over."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from cognition.insights import standings
from cognition.library import Library, LibraryError, load_library
from cognition.reader import Reader
from cognition.records import Insight
from cognition.retrieval import RetrievalSettings
from orchestrator.errors import UsageError


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


def carried_from(settings: CognitionSettings) -> tuple[Insight, ...]:
    """The insights of earlier runs that still stand, with the run that each comes from.

    Raises:
        UsageError: a run that is not there or cannot be read.
    """
    carried: dict[str, Insight] = {}
    for folder in settings.from_runs:
        try:
            insights = Reader(folder).rows(Insight)
        except (ValueError, OSError) as error:
            raise UsageError(f"cognition.from_runs: {error}") from error
        name = Path(folder).resolve().name
        for standing in standings(insights).values():
            if standing.superseded_by is None:
                insight = standing.insight
                carried.setdefault(insight.insight_id, dataclasses.replace(insight, from_run=insight.from_run or name))
    return tuple(carried.values())
