"""A 20M trial on several GPUs of one node: what benchmarks/gpu.py runs as a process of its own, for each number.

    python benchmarks/gpu_ranks.py --processes 2 --out FILE.json [--quick]

The trial is trained as campaigns do it, in a jailed child (on CUDA with nccl, with --quick on a CPU with gloo), without
probes and with few windows to evaluate: tokens per second of its text, from the first point of the curve to the last.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cognition.records import Metric, TrialStatus
from models.data import DataSpec
from models.sandbox.jail import Device
from models.sandbox.parent import ForkServer
from models.scale import TEXT, Stage, load_scale
from models.slots import published_source
from models.trial import TrialJob, TrialRun

SLOT, MIXER = "token_mixer", "delta_net"


def measure(num_processes: int, quick: bool) -> dict[str, Any]:
    """Tokens per second, largest memory of one device, and the loss, which the number does not change."""
    device: Device = "cpu" if quick else "cuda"
    job = TrialJob(
        trial_id=f"on-{num_processes}",
        candidate_id=MIXER,
        source=published_source(SLOT, MIXER),
        slot=SLOT,
        stage=_stage(quick),
        seed=0,
        data=DataSpec(),
        device=device,
        num_processes=num_processes,
    )
    with ForkServer(device=device) as server:
        run = TrialRun(job, server)
        points = []
        while isinstance(point := run.advance(), Metric):
            points += [point] * (point.task == TEXT)
    if point.status is not TrialStatus.finished:
        raise RuntimeError(f"the trial on {num_processes} processes {point.status}: {point.detail}")
    first, last = points[0], points[-1]
    return {
        "tokens_s": round((last.tokens - first.tokens) / (last.elapsed_s - first.elapsed_s)),
        "peak_gb": round((last.peak_bytes or 0) / 1e9, 2),
        "loss": last.loss,
    }


def _stage(quick: bool) -> Stage:
    if quick:
        return replace(load_scale("tiny").stages[0], probes=())
    stage = load_scale("explore_20m").stages[0]
    return replace(stage, steps=80, warmup_steps=10, report_every=20, eval_windows=16, probes=())


def main() -> None:
    """Measure one number of processes and write its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, required=True, metavar="N")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, on a CPU")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.json")
    options = parser.parse_args()
    figures = measure(options.processes, options.quick)
    print("  ".join(f"{key} {value}" for key, value in figures.items()))
    options.out.write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
