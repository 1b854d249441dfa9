"""How long a queued job waits for its first training step: through the warm engine, against a fresh process each.

`python benchmarks/job_start.py` starts a private Ray with one slot, feeds the real trial engine one job after another,
and trains the same candidate in fresh interpreters. Both sides load the source, build the model and take one step.
"""

from __future__ import annotations

import json
import logging
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.machine import write_result  # noqa: E402
from models.data import DataSpec  # noqa: E402
from models.scale import load_scale  # noqa: E402
from models.slots import published_source  # noqa: E402
from models.trial import TrialJob  # noqa: E402

NUM_JOBS = 20
NUM_PROCESSES = 5
SLOT, BASELINE = "token_mixer", "gated_delta_net"
STAGE = load_scale("tiny").stage("explore")
DATA = DataSpec(source="stdlib", tokenizer="bytes", max_bytes=4_000_000, seed=0)

FRESH = """
from models.backbone import build, fit_ffn_width, reference_parameters
from models.data import DataSpec, load_corpus, text_batches
from models.loading import load_mixer
from models.scale import load_scale
from models.slots import published_source
from models.training import train
stage = load_scale("tiny").stage("explore")
mixer = load_mixer(published_source("token_mixer", "gated_delta_net"))
width = fit_ffn_width(mixer, stage.size, reference_parameters(stage.size, "token_mixer"))
model = build(mixer, stage.size, width, 0)
tokens = load_corpus(DataSpec(source="stdlib", tokenizer="bytes", max_bytes=4_000_000, seed=0)).train
batches = text_batches(tokens, stage.batch_size, stage.length, 0)
train(model, batches, steps=1, learning_rate=1e-3, warmup_steps=0, report_every=1, report=lambda point: None)
"""


def engine_waits() -> list[float]:
    """Seconds from queueing to the first training step, the slot being warm and free."""
    import ray

    from orchestrator.board import Order
    from orchestrator.pools import Pool
    from orchestrator.trial_engine import TrialEngine

    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    engine = TrialEngine({"explore": Pool(cpus=1)}, most=1)
    waits = []
    for seed in range(1 + NUM_JOBS):
        job = TrialJob(
            trial_id=f"job-{seed}",
            candidate_id=BASELINE,
            source=published_source(SLOT, BASELINE),
            slot=SLOT,
            stage=STAGE,
            seed=seed,
            data=DATA,
        )
        trial = engine.submit(Order(job=job, pool="explore")).result().trial
        assert trial.succeeded, trial.detail
        waits.append(trial.first_step_at - trial.queued_at)
    engine.close()
    ray.shutdown()
    return waits


def process_wait() -> float:
    """Seconds of a fresh interpreter until its first training step is taken."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", FRESH], check=True, cwd=ROOT)
    return time.perf_counter() - began


def main() -> None:
    """Measure, print, write benchmarks/results/job_start.json."""
    first, *warm = engine_waits()
    fresh = [process_wait() for _ in range(NUM_PROCESSES)]
    warm_ms, fresh_ms = statistics.median(warm) * 1e3, statistics.median(fresh) * 1e3
    ratio = fresh_ms / warm_ms
    print(f"warm engine     median {warm_ms:8.1f} ms of {len(warm)} jobs (max {max(warm) * 1e3:.1f})")
    print(f"fresh process   median {fresh_ms:8.1f} ms of {len(fresh)}")
    print(f"ratio           {ratio:.1f} (goal: at least 10)")
    print(f"the first job of a cold slot waits {first:.2f} s")
    figures = {"warm_s": warm, "fresh_s": fresh, "ratio": ratio, "cold_slot_s": first}
    write_result("job_start", figures)
    print(json.dumps({"ratio": round(ratio, 1)}))


if __name__ == "__main__":
    main()
