"""How a campaign's start ended, and what may watch it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from agents.brief import Member
from agents.ledger import Spend
from cognition.folders import Place
from cognition.manifest import SetAside
from cognition.records import Claim, NoiseLevel, RankCorrelation, Record

if TYPE_CHECKING:
    from orchestrator.board import RunningTrial
    from orchestrator.campaign import Campaign


class View(Protocol):
    """What watches a campaign: the terminal, a test, a notebook."""

    def started(self, campaign: Campaign) -> None: ...

    def recorded(self, campaign: Campaign, record: Record) -> None: ...

    def tick(self, campaign: Campaign, running: Sequence[RunningTrial]) -> None: ...

    def ended(self, campaign: Campaign, result: Result) -> None: ...

    def failed(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a campaign's start ended. `stopped_by` is None when it came to its end; `fault`: something broke."""

    folder: Place  # the run folder's path, or its URI
    members: tuple[Member, ...]
    claims: tuple[Claim, ...]  # the last revision of each
    stages: tuple[str, ...]  # of the scale, from the first to the highest
    spend: tuple[Spend, ...]
    elapsed_s: float
    stopped_by: str | None = None
    fault: bool = False
    resumed_finished: bool = False
    correlations: tuple[RankCorrelation, ...] = ()  # between neighbouring stages, as far as there are enough pairs
    noise: tuple[NoiseLevel, ...] = ()  # the last of each stage and figure
    set_aside: tuple[SetAside, ...] = ()  # damaged fragments: their rows were lost and, where they matter, made again
