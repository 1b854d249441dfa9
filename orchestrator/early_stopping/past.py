"""Finished curves: of a run folder, or of the file that is shipped for calibration."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cognition.folders import Place
from cognition.reader import Reader
from cognition.records import Candidate, FailureKind, Trial
from models.scale import TEXT
from orchestrator.errors import UsageError
from orchestrator.run_folder import RunFolder

_FIELDS = (
    *("num_founders", "run", "trial", "number", "seed", "started_at", "finished_at", "final"),
    *("step", "loss", "at"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PastPoint:
    """One point of a finished curve."""

    step: int
    loss: float  # training loss
    at: float  # seconds since the epoch, or since the run's first trial


@dataclass(frozen=True, slots=True, kw_only=True)
class PastTrial:
    """A trial that trained to its end."""

    trial_id: str
    number: int  # the candidate's
    seed: int
    started_at: float
    finished_at: float
    final: float  # sealed loss
    points: tuple[PastPoint, ...]

    @property
    def steps(self) -> int:
        return self.points[-1].step


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRun:
    """What one campaign trained at one stage."""

    name: str
    num_founders: int  # numbers below are never stopped
    trials: tuple[PastTrial, ...]  # in the order in which they started
    num_stopped: int = 0  # trials that a policy ended: what they would have come to is not known


def read_run(path: Place, stage: str) -> PastRun:
    """The finished curves of a run folder.

    Raises:
        UsageError: it is not a campaign's folder, or nothing was trained to its end at this stage.
        ValueError: its lineage cannot be read.
        OSError: it cannot be reached.
    """
    folder = RunFolder.existing(path)
    founders = folder.settings()["campaign"]["founders"]
    reader = Reader(folder.folder)
    numbers = {candidate.candidate_id: candidate.number for candidate in reader.rows(Candidate)}
    points: dict[str, list[tuple[int, float, float]]] = defaultdict(list)
    curves = f"SELECT trial_id, step, loss, elapsed_s FROM curves WHERE task = '{TEXT}' ORDER BY trial_id, step"
    for trial_id, step, loss, elapsed_s in reader.query(curves).rows:
        points[trial_id].append((step, loss, elapsed_s))
    at_stage = [trial for trial in reader.rows(Trial) if trial.stage == stage]
    ended = [trial for trial in at_stage if trial.loss is not None and trial.trial_id in points]
    if not ended:
        stages = sorted({trial.stage for trial in reader.rows(Trial) if trial.succeeded})
        there = f"there are trials of {', '.join(stages)}" if stages else "no trial has finished"
        raise UsageError(f"{path} has no finished curve of stage {stage!r} ({there}): choose one with --stage")
    return PastRun(
        name=folder.folder.name,
        num_founders=len(founders),
        trials=tuple(
            PastTrial(
                trial_id=trial.trial_id,
                number=numbers[trial.candidate_id],
                seed=trial.seed,
                started_at=trial.started_at,
                finished_at=trial.finished_at,
                final=trial.loss,
                points=tuple(PastPoint(step=s, loss=y, at=trial.started_at + t) for s, y, t in points[trial.trial_id]),
            )
            for trial in sorted(ended, key=lambda trial: trial.started_at)
            if trial.loss is not None
        ),
        num_stopped=sum(trial.failure is FailureKind.unpromising for trial in at_stage),
    )


def write_runs(runs: Sequence[PastRun], path: Path) -> None:
    """Keep curves as a CSV file, one point a line, times counted from each run's first trial."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_FIELDS)
        for run in runs:
            began = run.trials[0].started_at
            for trial in run.trials:
                times = (f"{trial.started_at - began:.2f}", f"{trial.finished_at - began:.2f}")
                for point in trial.points:
                    row = (f"{trial.final:.5f}", point.step, f"{point.loss:.5f}", f"{point.at - began:.2f}")
                    whole = (run.num_founders, run.name, trial.trial_id, trial.number, trial.seed)
                    writer.writerow((*whole, *times, *row))


def read_runs(path: Path) -> tuple[PastRun, ...]:
    """Curves that were kept by `write_runs`."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return tuple(
        PastRun(
            name=name,
            num_founders=int(next(row["num_founders"] for row in rows if row["run"] == name)),
            trials=tuple(_trials(row for row in rows if row["run"] == name)),
        )
        for name in dict.fromkeys(row["run"] for row in rows)
    )


def _trials(rows: Iterable[dict[str, str]]) -> list[PastTrial]:
    by_trial: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        by_trial[row["trial"]].append(row)
    return [
        PastTrial(
            trial_id=trial_id,
            number=int(points[0]["number"]),
            seed=int(points[0]["seed"]),
            started_at=float(points[0]["started_at"]),
            finished_at=float(points[0]["finished_at"]),
            final=float(points[0]["final"]),
            points=tuple(PastPoint(step=int(p["step"]), loss=float(p["loss"]), at=float(p["at"])) for p in points),
        )
        for trial_id, points in by_trial.items()
    ]
