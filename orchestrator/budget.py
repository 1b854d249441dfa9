"""What a campaign may take: its limits, from the configuration."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from agents.ledger import Limits

_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*([smhd])")


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetSettings:
    """Limits; None means none. A larger budget extends a finished campaign."""

    candidates: int = 22
    slot_hours: float | None = None
    gpu_hours: float | None = None
    wall: float | str | None = None  # of one start: hours, or a text as 90m
    usd: float | None = None
    tokens: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.candidates <= 10_000_000:
            raise ValueError(f"budget.candidates is {self.candidates}: use a number from 0 to 10,000,000")
        for name in ("slot_hours", "gpu_hours"):
            hours = getattr(self, name)
            if hours is not None and not 0 < hours < math.inf:
                raise ValueError(f"budget.{name} is {hours}: use hours above zero, or null for no limit")
        if self.usd is not None and not 0 <= self.usd < math.inf:
            raise ValueError(f"budget.usd is {self.usd}: use 0 or more, or null for no limit")
        if self.tokens is not None and self.tokens < 0:
            raise ValueError(f"budget.tokens is {self.tokens}: use 0 or more, or null for no limit")
        _ = self.wall_s

    @property
    def wall_s(self) -> float | None:
        """The limit on one start's time on the clock, in seconds."""
        return None if self.wall is None else duration_s("budget.wall", self.wall)

    @property
    def limits(self) -> Limits:
        """What the ledger watches."""
        return Limits(usd=self.usd, slot_hours=self.slot_hours, gpu_hours=self.gpu_hours, tokens=self.tokens)

    @property
    def in_words(self) -> str:
        """Every limit that there is."""
        told = [f"{self.candidates} candidates"]
        told += [f"{self.slot_hours:g} slot-hours"] if self.slot_hours is not None else []
        told += [f"{self.gpu_hours:g} GPU-hours"] if self.gpu_hours is not None else []
        told += [f"{_hours(self.wall)} on the clock"] if self.wall is not None else []
        told += [f"{self.usd:.2f} USD"] if self.usd is not None else []
        told += [f"{self.tokens:,} tokens"] if self.tokens is not None else []
        return ", ".join(told)


def duration_s(name: str, duration: float | str) -> float:
    """Seconds of a duration: a number is hours, a text a number with its unit. ValueError for anything else."""
    match = _DURATION.fullmatch(duration.strip()) if isinstance(duration, str) else None
    if isinstance(duration, str):
        seconds = float(match[1]) * _UNITS_S[match[2]] if match else math.nan
    else:
        seconds = duration * 3600
    if not 0 < seconds < math.inf:
        raise ValueError(f"{name} is {duration!r}: use a time above zero as 45s, 90m, 2h or 1.5d, or a number of hours")
    return seconds


def _hours(wall: float | str) -> str:
    return wall if isinstance(wall, str) else f"{wall:g}h"
