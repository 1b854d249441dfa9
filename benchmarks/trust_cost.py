"""What distrust costs: gate, canary and sealed evaluation as shares of a trial, and how soon a hanging child is gone.

`python benchmarks/trust_cost.py [--scale cpu] [--device cpu]` prints them side by side for every baseline and writes
benchmarks/results/trust_cost.json. The corpus is the standard library's source. On a GPU box it needs Python, torch and
this repository, nothing else.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.machine import write_result
from cognition.records import Metric, Trial, candidate_id_of
from models.data import DataSpec
from models.sandbox.exam import ExamJob, examine
from models.sandbox.parent import ForkServer
from models.sandbox.settings import SandboxSettings
from models.scale import CANARY, TEXT, Stage, load_scale
from models.slots import SLOTS, published_source
from models.trial import TrialJob, TrialRun

SLOT = "token_mixer"
HANG = "while True: pass"
DEADLINE_S = 1.0
NUM_HANGS = 5


def exam_job(source: str, stage: Stage, deadline_s: float = 120.0, *, policy: bool = True) -> ExamJob:
    """The gate as a campaign asks for it."""
    return ExamJob(
        candidate_id=candidate_id_of(source),
        number=0,
        attempt=0,
        source=source,
        slot=SLOT,
        size=stage.size,
        length=stage.length,
        deadline_s=deadline_s,
        policy=policy,
    )


def trial_figures(source: str, stage: Stage, server: ForkServer, device: str) -> dict[str, Any]:
    """Shares of one trial's slot time."""
    job = TrialJob(
        trial_id=f"benchmark-{candidate_id_of(source)}",
        candidate_id=candidate_id_of(source),
        source=source,
        slot=SLOT,
        stage=stage,
        seed=0,
        data=DataSpec(),
        device=device,
    )
    run = TrialRun(job, server)
    began, text_since = time.perf_counter(), 0.0
    points: list[Metric] = []
    while not isinstance(point := run.advance(), Trial):
        if point.task == TEXT and not text_since:
            text_since = time.perf_counter() - began
        points.append(point)
    if not point.succeeded:
        raise SystemExit(f"the trial failed ({point.failure}): {point.detail}")
    canary = [each for each in points if each.task == CANARY]
    per_point = (points[len(canary) + 1].elapsed_s - points[len(canary)].elapsed_s) if len(points) > len(canary) else 0
    canary_s = max(0.0, text_since - per_point)
    return {
        "slot_s": round(point.slot_s, 2),
        "canary_share": round(canary_s / point.slot_s, 3),
        "sealed_share": round(run.sealed_s / point.slot_s, 3),
        "canary_excess": next(score.value for score in point.scores if score.name == "canary_excess"),
    }


def overrun_s(stage: Stage, server: ForkServer) -> float:
    """Seconds past its deadline until a hanging candidate's child and its descendants are gone."""
    began = time.perf_counter()
    examine(exam_job(HANG, stage, DEADLINE_S, policy=False), server)
    return time.perf_counter() - began - DEADLINE_S


def main() -> None:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", default="cpu")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    stage = replace(load_scale(options.scale).stages[0], deadline_s=600.0)
    rows: dict[str, Any] = {}
    with SandboxSettings().fork_server(options.device) as server:
        server.start()
        layers = {layer.name: layer.in_force for layer in server.layers()}
        trial_figures(published_source(SLOT, SLOTS[SLOT].reference), stage, server, options.device)  # reads the corpus
        for name in SLOTS[SLOT].baselines:
            source = published_source(SLOT, name)
            gate_s = statistics.median(examine(exam_job(source, stage), server).duration_s for _ in range(3))
            rows[name] = {"gate_s": round(gate_s, 2), **trial_figures(source, stage, server, options.device)}
        overruns = [overrun_s(stage, server) for _ in range(NUM_HANGS)]
    figures = {
        "scale": options.scale,
        "device": options.device,
        "layers": layers,
        "baselines": rows,
        "largest_gate_s": max(row["gate_s"] for row in rows.values()),
        "largest_sealed_share": max(row["sealed_share"] for row in rows.values()),
        "largest_canary_share": max(row["canary_share"] for row in rows.values()),
        "largest_overrun_s": round(max(overruns), 3),
    }
    write_result("trust_cost", figures)
    print(f"{'baseline':<20}{'gate s':>8}{'trial s':>9}{'canary':>9}{'sealed':>9}{'excess':>9}")
    for name, row in rows.items():
        print(
            f"{name:<20}{row['gate_s']:>8}{row['slot_s']:>9}{row['canary_share']:>9.1%}{row['sealed_share']:>9.1%}"
            f"{row['canary_excess']:>+9.4f}"
        )
    print(f"a hanging child is gone at most {max(overruns) * 1e3:.0f} ms after its deadline ({NUM_HANGS} times)")
    missing = [name for name, in_force in layers.items() if not in_force]
    print(
        f"layers of the jail: {len(layers) - len(missing)} in force"
        + (f", missing {', '.join(missing)}" * bool(missing))
    )


if __name__ == "__main__":
    main()
