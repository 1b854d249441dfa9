"""What earlier starts left for stopping policies to compare with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cognition.records import EarlyStop, Trial
from orchestrator.early_stopping.curves import Curve


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """Trials that ended, with their curves, and what was decided; nothing where no stage has a policy."""

    trials: Sequence[Trial] = ()
    curves: Mapping[str, Curve] = field(default_factory=dict)  # of these trials' text, by trial
    numbers: Mapping[str, int] = field(default_factory=dict)  # of their candidates, by id
    decided: Sequence[EarlyStop] = ()
