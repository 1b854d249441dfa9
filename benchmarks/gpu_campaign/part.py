"""One part as a process, which benchmarks/gpu_campaign/plan.py starts: `python -m benchmarks.gpu_campaign.part -h`."""

from __future__ import annotations

import argparse
import importlib
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.gpu_campaign import PARTS
from benchmarks.gpu_campaign.plan import Outcome, State, outcome_of
from benchmarks.machine import machine
from models.sandbox.layer import Device

_MODULES = {"compile": "compiling"}  # a module cannot be named like a builtin


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
            seconds=round(self.seconds - self.left_s, 1) if seconds is None else seconds,
            figures=self.figures,
            machine=machine(),
        ).write(self.out)


def work(part: str, measure: Callable[[Work], None], told: Work) -> int:
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


def main(arguments: list[str] | None = None) -> int:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--device", choices=("cuda", "cpu"), required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args(arguments)
    earlier = outcome_of(options.out, options.part, options.name)
    told = Work(**vars(options), figures=dict(earlier.figures) if earlier is not None else {})
    module = importlib.import_module(f"benchmarks.gpu_campaign.{_MODULES.get(options.part, options.part)}")
    return work(options.part, module.measure, told)


if __name__ == "__main__":
    sys.exit(main())
