"""What a part is told, and how it leaves what it finds; apart from what runs as a program, which has other names."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.gpu_campaign.plan import Outcome, State
from benchmarks.machine import machine
from models.sandbox.layer import Device


class Unfinished(Exception):
    """There is more to be measured by the next run; the text says what."""


@dataclass(slots=True, kw_only=True)
class Work:
    """What a part is told, and where it leaves what it finds."""

    part: str
    device: Device
    name: str
    out: Path
    seconds: float
    figures: dict[str, Any] = field(default_factory=dict)  # of earlier runs too
    begun: float = field(default_factory=time.monotonic)

    @property
    def left_s(self) -> float:
        return self.seconds - (time.monotonic() - self.begun)

    def note(self, **figures: Any) -> None:
        """Keep these figures from now on, whatever comes later."""
        for key, value in figures.items():
            print(f"{key}: {value}", flush=True)
        self.figures.update(figures)
        self.write(State.unfinished, "cut off", seconds=0.0)

    def write(self, state: State, detail: str = "", seconds: float | None = None) -> None:
        """The part's file."""
        Outcome(
            part=self.part,
            device=self.name,
            state=state,
            detail=detail,
            seconds=max(0.1, round(self.seconds - self.left_s, 1)) if seconds is None else seconds,
            figures=self.figures,
            machine=machine(),
        ).write(self.out)


def carry_out(measure: Callable[[Work], None], told: Work) -> int:
    """Measure, and write how it ended. Exit code 1: it failed."""
    try:
        measure(told)
    except Unfinished as left:
        told.write(State.unfinished, str(left))
    except Exception as error:  # noqa: BLE001  the part's boundary: whatever it is, it is what was found
        traceback.print_exc()
        told.write(State.failed, f"{type(error).__name__}: {error}"[:2_000])
        return 1
    else:
        told.write(State.measured)
    return 0
