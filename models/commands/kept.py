"""What `rank` has found so far, in a file of JSON lines: trials, and the gate's word on each mixer.

A half-written last line is what a kill leaves behind: it is skipped, and its trial done again.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cognition.records import Report, Score, Trial, TrialStatus
from models.commands.results import require_writable

_ROOT = Path(__file__).resolve().parents[2]


@cache
def code_digest() -> str:
    """Of what trials are computed with: our own sources of models and kernels, and torch's version."""
    digest = hashlib.sha256(version("torch").encode())
    for package in ("kernels", "models"):
        for path in sorted((_ROOT / package).rglob("*.py")):
            digest.update(str(path.relative_to(_ROOT)).encode() + path.read_bytes())
    return digest.hexdigest()[:12]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What the gate says of a mixer in a host: its cost, and what it was refused for."""

    key: str  # of the text and the host
    num_parameters: int | None
    flops_per_token: float | None
    state_bytes: int | None
    refused: str  # names of properties, or a kind; empty: passed

    @classmethod
    def of(cls, key: str, report: Report) -> Gate:
        failed = ", ".join(item.name for item in report.properties if not item.passed)
        return cls(
            key=key,
            num_parameters=report.num_parameters,
            flops_per_token=report.flops_per_token,
            state_bytes=report.state_bytes,
            refused=(failed or report.kind.value) if report.refused else "",
        )


class Kept:
    """Finished trials by id, gates by key.

    Raises:
        ValueError: the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        require_writable(path)
        self.trials: dict[str, Trial] = {}
        self.gates: dict[str, Gate] = {}
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                self._take(json.loads(line))
            except (ValueError, TypeError, KeyError):
                print(f"{path}: a line that is no result is left out", file=sys.stderr)

    def add(self, result: Trial | Gate) -> None:
        """Keep a result; a failed trial for this run only, so that the next tries it again."""
        if isinstance(result, Gate):
            self.gates[result.key] = result
            self._write({"gate": asdict(result)})
            return
        self.trials[result.trial_id] = result
        if result.succeeded:
            self._write({"trial": asdict(result)})

    def _take(self, told: dict[str, Any]) -> None:
        if "gate" in told:
            gate = Gate(**told["gate"])
            self.gates[gate.key] = gate
            return
        values = told["trial"]
        scores = tuple(Score(**score) for score in values["scores"])
        trial = Trial(**{**values, "scores": scores, "status": TrialStatus(values["status"])})
        self.trials[trial.trial_id] = trial

    def _write(self, told: dict[str, Any]) -> None:
        with self.path.open("a+b") as file:
            if file.tell() and not self._ends_its_last_line():
                file.write(b"\n")
            file.write(json.dumps(told).encode() + b"\n")

    def _ends_its_last_line(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, 2)
            return file.read(1) == b"\n"
