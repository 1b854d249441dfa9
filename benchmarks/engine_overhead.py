"""What the trial engine itself takes: `python benchmarks/engine_overhead.py [NUM_TRIALS]`.

Trials that do nothing and report thrice, on two slots: through the warm engine (2,000 of them), and in the same run
through a Tuner with Tune's defaults (60). Overhead is the clock over the number of trials. Pick-up is from queueing one
trial, after the engine has had nothing to do for a while, to its host's first word.
"""

from __future__ import annotations

import contextlib
import io
import logging
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import ray  # noqa: E402

from benchmarks.machine import write_result  # noqa: E402
from cognition.records import Metric, Trial, TrialStatus  # noqa: E402
from models.data import DataSpec  # noqa: E402
from models.scale import load_scale  # noqa: E402
from models.trial import TrialJob  # noqa: E402
from orchestrator.board import Order  # noqa: E402
from orchestrator.pools import Pool  # noqa: E402
from orchestrator.trial_engine import TrialEngine, tune  # noqa: E402

NUM_TRIALS, NUM_DEFAULT = 2_000, 60
NUM_SLOTS, NUM_REPORTS = 2, 3
IDLE_S, NUM_PICKUPS = 3.0, 8
STAGE = load_scale("tiny").stage("explore")
DATA = DataSpec(source="stdlib", tokenizer="bytes", max_bytes=1_000_000, seed=0)


class InstantHost(tune.Trainable):  # type: ignore[misc]
    """Three points and an outcome, at once."""

    def setup(self, config: dict[str, Any]) -> None:
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.job, self.since, self.num_steps = new_config["job"], time.time(), -1
        return True

    def end_trial(self, reason: str = "") -> None:
        """Nothing runs on."""

    def step(self) -> dict[str, Any]:
        self.num_steps += 1
        if self.num_steps == 0:
            host = ray.get_runtime_context().current_actor
            return {"host": host, "worker": "instant", "started_at": self.since}
        if self.num_steps <= NUM_REPORTS:
            metric = Metric(
                trial_id=self.job.trial_id,
                task="text",
                step=self.num_steps,
                loss=1.0,
                grad_norm=1.0,
                learning_rate=0.1,
                tokens=1,
                elapsed_s=time.time() - self.since,
            )
            return {"metric": metric, "loss": metric.loss}
        outcome = Trial(
            trial_id=self.job.trial_id,
            candidate_id=self.job.candidate_id,
            stage=STAGE.name,
            seed=0,
            split="validation",
            status=TrialStatus.finished,
            loss=1.0,
            started_at=self.since,
            finished_at=time.time(),
        )
        return {"outcome": outcome, "done": True}


def instant(config: dict[str, Any]) -> None:
    """The same for Tune's function API, as a user would write it."""
    for step in range(NUM_REPORTS):
        tune.report({"loss": 1.0, "step": step})


def order(name: str) -> Order:
    """An order for a trial of that name."""
    job = TrialJob(trial_id=name, candidate_id=name, source="", slot="token_mixer", stage=STAGE, seed=0, data=DATA)
    return Order(job=job, pool="explore")


def through_the_engine(num: int) -> dict[str, float]:
    """Seconds a trial, of all and of the first and last hundred, and of picking one up after an idle spell."""
    engine = TrialEngine({"explore": Pool(cpus=1)}, most=NUM_SLOTS, host=InstantHost)
    for warm in [engine.submit(order(f"warm{index}")) for index in range(2 * NUM_SLOTS)]:
        warm.result()
    began, ends = time.perf_counter(), []
    for future in [engine.submit(order(f"trial{index}")) for index in range(num)]:
        future.result()
        ends.append(time.perf_counter() - began)
    hundred = min(100, num // 2)
    waits = []
    for index in range(NUM_PICKUPS):
        time.sleep(IDLE_S)
        trial = engine.submit(order(f"idle{index}")).result().trial
        waits.append(trial.started_at - trial.queued_at)
    engine.close()
    return {
        "each_s": ends[-1] / num,
        "first_hundred_s": ends[hundred - 1] / hundred,
        "last_hundred_s": (ends[-1] - ends[-hundred - 1]) / hundred,
        "pick_up_s": statistics.median(waits),
        "slowest_pick_up_s": max(waits),
    }


def through_defaults(num: int) -> float:
    """Seconds a trial of `tune.Tuner` as it comes."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        tuner = tune.Tuner(
            tune.with_resources(instant, {"cpu": 1}),
            tune_config=tune.TuneConfig(num_samples=num, metric="loss", mode="min"),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        )
        began = time.perf_counter()
        tuner.fit()
        return (time.perf_counter() - began) / num


def main(arguments: list[str]) -> None:
    """Measure, print, write benchmarks/results/engine_overhead.json."""
    num = int(arguments[0]) if arguments else NUM_TRIALS
    ray.init(
        address="local", num_cpus=NUM_SLOTS, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
    )
    ours, default_s = through_the_engine(num), through_defaults(min(num, NUM_DEFAULT))
    ray.shutdown()
    growth = ours["last_hundred_s"] / ours["first_hundred_s"]
    print(
        f"engine      {ours['each_s'] * 1000:7.1f} ms a trial over {num:,} (goal: at most 100); last hundred "
        f"{growth:.2f} times the first (goal: at most 1.5)\n"
        f"defaults    {default_s * 1000:7.1f} ms a trial over {min(num, NUM_DEFAULT)}: "
        f"{default_s / ours['each_s']:.0f} times\n"
        f"pick-up     {ours['pick_up_s'] * 1000:7.1f} ms after {IDLE_S:.0f} s without work, slowest "
        f"{ours['slowest_pick_up_s'] * 1000:.1f} (goal: under 300)"
    )
    write_result("engine_overhead", {"num_trials": num, **ours, "growth": growth, "tune_defaults_each_s": default_s})


if __name__ == "__main__":
    main(sys.argv[1:])
