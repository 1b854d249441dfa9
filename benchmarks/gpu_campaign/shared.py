"""Candidates an hour against trials at once on one card, through the trial engine, and the best number."""

from __future__ import annotations

import math
import os
import time
from dataclasses import replace
from typing import Any

from benchmarks.gpu_campaign.setting import job_for, keep_data_in, settings_for
from benchmarks.gpu_campaign.watching import watched
from benchmarks.gpu_campaign.work import Unfinished, Work
from models.sandbox.layer import Device
from models.trial import TrialJob
from orchestrator.board import Order
from orchestrator.config import Settings
from orchestrator.pools import Pool
from orchestrator.trial_engine import TrialEngine

NUMBERS: dict[Device, tuple[int, ...]] = {"cuda": (1, 2, 4, 8, 12), "cpu": (1, 2)}
USUAL: dict[Device, int] = {"cuda": 4, "cpu": 2}  # before it was measured
_SHARES = 10_000  # as finely as Ray counts a card


def pool_for(device: Device, num: int) -> Pool:
    """What one of `num` trials takes that fill a card, or the processors in its place."""
    share = math.floor(_SHARES / num) / _SHARES
    if device == "cuda":
        return Pool(cpus=1, gpus=share)
    return Pool(cpus=share * (os.cpu_count() or 1))


def best_of(figures: dict[str, Any], device: Device) -> int:
    """Trials at once with most candidates an hour; the usual number where nothing was measured."""
    hourly = {int(num): found["candidates_per_hour"] for num, found in figures.get("by_number", {}).items()}
    return max(hourly, key=lambda num: hourly[num]) if hourly else USUAL[device]


def measure(work: Work) -> None:
    """Every number that has no figure yet. Raises Unfinished where the time does not do for all."""
    import logging

    import ray

    keep_data_in(work.out)
    settings = settings_for(work.device)
    numbers, by_number = NUMBERS[work.device], dict(work.figures.get("by_number", {}))
    cpus = max(os.cpu_count() or 1, *numbers) if work.device == "cuda" else None
    os.environ.setdefault("RAY_memory_monitor_refresh_ms", "0")
    ray.init(address="local", num_cpus=cpus, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    longest_s = 0.0
    try:
        for num in numbers:
            if str(num) in by_number:
                continue
            if work.left_s < 1.5 * longest_s:
                raise Unfinished(f"{num} and more at once: the time was up")
            begun = time.monotonic()
            by_number[str(num)] = _together(num, settings, work.device)
            longest_s = time.monotonic() - begun
            work.note(by_number=by_number, best=best_of({"by_number": by_number}, work.device))
    finally:
        ray.shutdown()


def _together(num: int, settings: Settings, device: Device) -> dict[str, Any]:
    """Trials of the reference baseline, equal but for the seed; hosts are warm before the clock runs."""
    pool = pool_for(device, num)
    engine = TrialEngine({"explore": pool}, most=num, sandbox=settings.sandbox)
    try:
        brief = replace(settings.scale.stages[0], steps=2, warmup_steps=1, report_every=1, probes=())
        warm = [_job(settings, device, pool, 1_000 + number, brief) for number in range(num)]
        _trained(engine, warm)
        jobs = [_job(settings, device, pool, number, _part_of(settings)) for number in range(max(num, 4))]
        begun = time.monotonic()
        with watched(device) as usage:
            trials = _trained(engine, jobs)
        seconds = time.monotonic() - begun
    finally:
        engine.close()
    failed = [f"{trial.failure or trial.status}: {trial.detail[:200]}" for trial in trials if not trial.succeeded]
    return {
        "candidates_per_hour": round((len(trials) - len(failed)) / seconds * 3600, 1),
        "trials": len(trials),
        "failed": failed,
        "seconds": round(seconds, 1),
        "slot_s": round(sum(trial.slot_s for trial in trials) / len(trials), 2),
        "usage": usage.as_figures(),
    }


def _part_of(settings: Settings) -> Any:
    """A third of an exploration: the same work in less time."""
    stage = settings.scale.stages[0]
    steps = max(4, stage.steps // 3)
    return replace(stage, steps=steps, warmup_steps=max(1, steps // 10), report_every=max(1, steps // 8))


def _job(settings: Settings, device: Device, pool: Pool, number: int, stage: Any) -> TrialJob:
    """Judged by nobody: so short a training need not make progress."""
    name, share = f"shared-{pool.cpus:g}-{pool.gpus:g}", pool.card_share
    job = job_for(settings, device, stage=stage, seed=number, card_share=share, name=name)
    return replace(job, anomalies=replace(job.anomalies, no_progress_share=None))


def _trained(engine: TrialEngine, jobs: list[TrialJob]) -> list[Any]:
    waiting = [engine.submit(Order(job=job, pool="explore")) for job in jobs]
    return [each.result().trial for each in waiting]
