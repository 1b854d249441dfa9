"""Which parts are run now, each as a process within its time, and what is known of each afterwards."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from benchmarks.gpu import Piece, run_piece
from benchmarks.gpu_campaign import PARTS
from benchmarks.machine import machine
from models.sandbox.layer import Device

# Seconds: what a part needs to be worth beginning, and the most that it is given. Guesses for a GPU; on a CPU, whose
# sizes are tiny, with room for others who use it.
TIMES: Mapping[Device, Mapping[str, tuple[float, float]]] = {
    "cuda": {
        "child": (40, 120),
        "compile": (40, 180),
        "memory": (30, 90),
        "cost": (40, 150),
        "shared": (60, 240),
        "campaign": (100, 3_600),
    },
    "cpu": {
        "child": (10, 180),
        "compile": (10, 900),
        "memory": (10, 120),
        "cost": (10, 120),
        "shared": (20, 180),
        "campaign": (60, 3_600),
    },
}
_GRACE_S = 15.0  # for which a part may go on after its time, before it is killed
_REPORT_S = 5.0


class State(StrEnum):
    """What is known of a part."""

    measured = "measured"
    unfinished = "unfinished"  # there are figures, and more to be had: the next run goes on
    failed = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A part's file: its figures so far, and what they were measured on."""

    part: str
    device: str
    state: State
    detail: str = ""  # why it failed, or what is left to do
    seconds: float = 0.0  # of the last run
    figures: Mapping[str, Any] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)

    def write(self, out: Path) -> None:
        """Whole or not at all: a kill leaves what was there before."""
        path = outcome_path(out, self.part)
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(".new")
        new.write_text(json.dumps(asdict(self), indent=1) + "\n")
        os.replace(new, path)


def outcome_path(out: Path, part: str) -> Path:
    """Where a part's outcome lies."""
    return out / "parts" / f"{part}.json"


def outcome_of(out: Path, part: str, device: str | None = None) -> Outcome | None:
    """What is there of a part, on this device or on any; None where nothing is, or the file is of another shape."""
    try:
        found = json.loads(outcome_path(out, part).read_text())
        outcome = Outcome(**{**found, "state": State(found["state"])})
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return outcome if device in (None, outcome.device) else None


def device_name(device: Device) -> str:
    """The card as torch names it, or the processor."""
    if device == "cpu":
        from benchmarks.machine import cpu_name

        return f"CPU in a GPU's place: {cpu_name()}"
    import torch

    return str(torch.cuda.get_device_name())


def todo(out: Path, name: str, asked: Sequence[str] | None) -> list[str]:
    """Parts without a full result on the device of that name, or those that are asked for; in their order."""
    if asked:
        return [part for part in PARTS if part in asked]
    known = {part: outcome_of(out, part, name) for part in PARTS}
    return [part for part, outcome in known.items() if outcome is None or outcome.state is not State.measured]


def run_parts(out: Path, device: Device, until: float, asked: Sequence[str] | None) -> int:
    """Run what is to do up to `until`, seconds since the epoch; how many failed.

    A part that is asked for by name begins anew, but for the campaign, which always goes on.
    """
    name, failed = device_name(device), 0
    for part in todo(out, name, asked):
        least_s, most_s = TIMES[device][part]
        seconds = min(most_s, until - time.time() - _GRACE_S - _REPORT_S)
        if seconds < least_s:
            print(f"{part}: not run, {max(0.0, seconds):.0f} s are left and it takes {least_s:.0f} at least")
            continue
        if asked:
            outcome_path(out, part).unlink(missing_ok=True)
        print(f"== {part}, at most {seconds:.0f} s", flush=True)
        outcome = run_part(out, part, device, name, seconds)
        failed += outcome.state is State.failed
        print(f"{part}: {outcome.state} {outcome.detail}".rstrip(), flush=True)
    return failed


def run_part(out: Path, part: str, device: Device, name: str, seconds: float) -> Outcome:
    """One part as a process of its own; what it had written stays, whatever ends it."""
    if (earlier := outcome_of(out, part, name)) is not None:
        replace(earlier, state=State.unfinished, detail="cut off", seconds=0.0).write(out)
    words = ["--device", device, "--name", name, "--out", str(out), "--seconds", f"{seconds:.0f}"]
    command = [sys.executable, "-m", "benchmarks.gpu_campaign.part", part, *words]
    found = run_piece(Piece(name=part, command=command, out=None), seconds + _GRACE_S)
    outcome = outcome_of(out, part, name)
    if outcome is not None and outcome.seconds:  # its own last word
        return outcome
    told = Outcome(
        part=part,
        device=name,
        state=State.failed,
        detail=str(found.get("failed", "it left no outcome")),
        seconds=found["seconds"],
        figures=outcome.figures if outcome is not None else {},
        machine=machine(),
    )
    told.write(out)
    return told
