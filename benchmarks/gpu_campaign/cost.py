"""What the jail costs a training step: the same training in it and outside, in turns."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from benchmarks.gpu_campaign.outside import Curve, Outside, train_text
from benchmarks.gpu_campaign.setting import job_for, keep_data_in, settings_for
from benchmarks.gpu_campaign.work import Work

TURNS = 3
STEPS = {"cuda": 120, "cpu": 96}
BATCH = {"cuda": {}, "cpu": {"batch_size": 16, "length": 128}}  # a tiny step would be lost in the noise
GOAL = 1.02


def measure(work: Work) -> None:
    """Median seconds per step of every turn; ratios of the medians and of the fastest, which others disturb least."""
    keep_data_in(work.out)
    settings = settings_for(work.device)
    first = settings.scale.stages[0]
    steps = STEPS[work.device]
    stage = replace(first, steps=steps, warmup_steps=steps // 10, report_every=steps // 12, **BATCH[work.device])
    job = job_for(settings, work.device, stage=stage)
    curves: dict[str, list[Curve]] = {"jailed": [], "outside": []}
    with settings.sandbox.fork_server("cuda") as server:
        server.start()
        for turn in range(TURNS):
            curves["jailed"].append(train_text(server, job))
            curves["outside"].append(train_text(Outside(device=work.device), job))
            medians = {way: [statistics.median(curve.seconds) for curve in found] for way, found in curves.items()}
            work.note(
                turns=turn + 1,
                step_s=medians,
                ratio=_ratio(curves, statistics.median),
                ratio_of_fastest=_ratio(curves, min),
                goal=GOAL,
            )
            if work.left_s < 1.5 * (work.seconds - work.left_s) / (turn + 1):
                break


def _ratio(curves: Mapping[str, Sequence[Curve]], of: Callable[[Iterable[float]], float]) -> float:
    """Jailed over outside."""
    jailed, outside = (of([each for curve in curves[way] for each in curve.seconds]) for way in ("jailed", "outside"))
    return round(jailed / outside, 4)
