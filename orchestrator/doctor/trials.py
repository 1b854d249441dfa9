"""A short real trial on each pool, through the real trial engine, as a campaign would run it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import ray

from cognition.records import Trial, trial_id_of
from models.scale import Stage
from models.slots import slot_named
from models.trial import TrialJob
from orchestrator.board import Order
from orchestrator.config import Settings
from orchestrator.doctor.findings import Finding, failed, ok
from orchestrator.early_stopping.recalled import Recalled
from orchestrator.early_stopping.settings import StoppingSettings
from orchestrator.engine_actor import TrialEngineActor
from orchestrator.founders import founder

_TRAIN_S = 20.0  # that it is expected to train, by the scale's own figures
PATIENCE_S = 600.0  # a node may have to come first


def check_trials(settings: Settings) -> Iterator[Finding]:
    """One trial of the reference baseline at each stage, all at once, without probes."""
    quiet = {name: replace(stage, stopping=StoppingSettings()) for name, stage in settings.stages.items()}
    remote: Any = ray.remote(TrialEngineActor)
    engine = remote.options(num_cpus=0).remote(replace(settings, stages=quiet), Recalled())
    asked = {stage.name: engine.run.remote(_order(settings, stage)) for stage in settings.scale.stages}
    try:
        yield from _answers(settings, asked)
    finally:
        with contextlib.suppress(ray.exceptions.RayError):
            ray.get(engine.close.remote(), timeout=30)
        ray.kill(engine)


def _answers(settings: Settings, asked: Mapping[str, Any]) -> Iterator[Finding]:
    give_up = time.monotonic() + PATIENCE_S
    for stage, answer in asked.items():
        subject = f"pool {settings.stages[stage].pool}"
        try:
            trial: Trial = ray.get(answer, timeout=max(1.0, give_up - time.monotonic())).trial
        except (ray.exceptions.RayError, TimeoutError) as error:
            told = f"a trial of stage {stage} did not come back ({' '.join(str(error).split())[:200] or 'no answer'})"
            yield failed(subject, told, "look at Ray's logs; `ray status` says what waits for resources")
            continue
        if trial.succeeded:
            yield ok(
                subject,
                f"stage {stage}: {trial.steps} steps in {trial.train_s:.1f} s on {trial.worker or 'a worker'}, "
                f"{trial.slot_s:.1f} s in all, sealed loss {trial.loss:.3f}",
            )
        else:
            why = f"{trial.failure.value if trial.failure else trial.status.value}: {trial.detail[:300]}"
            yield failed(subject, f"a trial of stage {stage} failed ({why})", "mend that before a campaign meets it")


def _order(settings: Settings, stage: Stage) -> Order:
    name = settings.stages[stage.name].pool
    pool = settings.pools[name]
    reference = founder(settings.campaign.slot, slot_named(settings.campaign.slot).reference, 0, 0)
    steps = max(2, min(stage.steps, round(stage.steps * _TRAIN_S / stage.expected_s)))
    short = replace(
        stage,
        steps=steps,
        warmup_steps=min(stage.warmup_steps, steps - 1),
        report_every=max(1, steps // 4),
        probes=(),
        deadline_s=PATIENCE_S,
    )
    job = TrialJob(
        trial_id=trial_id_of(reference.candidate_id, stage.name, stage.seeds[0]),
        candidate_id=reference.candidate_id,
        source=reference.source,
        slot=reference.slot,
        stage=short,
        seed=stage.seeds[0],
        data=settings.data,
        device=pool.device,
        num_processes=pool.num_processes,
        anomalies=settings.anomalies,
    )
    return Order(job=job, pool=name)
