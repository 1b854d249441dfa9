"""How efficiency is measured, and where. No torch: Ray workers import this."""

from __future__ import annotations

import math
from dataclasses import dataclass

from models.scale import Stage

_FACTORS = (1, 4, 16)  # of the stage's length


@dataclass(frozen=True, slots=True, kw_only=True)
class EfficiencySettings:
    """Whose efficiency is measured at the last stage, at which lengths, how often and how long."""

    measure: bool | None = None  # null: where trials of that stage run on GPUs
    lengths: tuple[int, ...] | None = None  # tokens; null: the stage's, 4 times and 16 times that
    repeats: int = 5  # of each figure, after those that warm up
    block_s: float = 0.2  # how long a repeat takes at least: the figure is its time over what was done in it
    deadline_s: float = 1800.0  # for all of one candidate's, the reference's beside it included

    def __post_init__(self) -> None:
        if self.lengths is not None and (not self.lengths or min(self.lengths) < 2):
            raise ValueError(
                f"efficiency.lengths is {list(self.lengths)}: give lengths of 2 tokens or more, or null for the stage's"
            )
        if self.repeats < 2:
            raise ValueError(f"efficiency.repeats is {self.repeats}: use 2 or more, or there is no spread")
        for name in ("block_s", "deadline_s"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"efficiency.{name} is {getattr(self, name)}: use seconds above 0")

    def lengths_at(self, stage: Stage) -> tuple[int, ...]:
        """Ascending, each once."""
        return tuple(sorted(set(self.lengths or (factor * stage.length for factor in _FACTORS))))

    def wanted(self, device: str) -> bool:
        """Whether a campaign measures by itself, where trials of the last stage run on that device."""
        return device != "cpu" if self.measure is None else self.measure
