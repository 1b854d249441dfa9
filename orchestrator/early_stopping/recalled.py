"""What earlier starts left for stopping policies to compare with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cognition.records import EarlyStop, Metric, Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """Trials that ended, with their curves and what was decided on them; nothing where no stage has a policy."""

    trials: Sequence[Trial] = ()
    metrics: Sequence[Metric] = ()  # of these trials, in the order in which they were written
    numbers: Mapping[str, int] = field(default_factory=dict)  # of candidates, by id
    decided: Sequence[EarlyStop] = ()
