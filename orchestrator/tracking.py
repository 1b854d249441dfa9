"""W&B: each trial a run in the campaign's group, with its configuration and curve.

It happens in an actor of its own and nobody waits for it: a W&B that fails or hangs is a warning in the run folder (of
one in an object store, in a scratch folder of this machine) and never touches a trial. The store is the record.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cognition.records import Candidate, Metric, Trial
from orchestrator.config import TrackingSettings
from orchestrator.run_folder import RunFolder

_DRAIN_S = 15.0
LOG = "tracking.log"


def resolved_mode(settings: TrackingSettings) -> str:
    """auto: online where a key is set, offline otherwise."""
    if settings.mode != "auto":
        return settings.mode
    return "online" if os.environ.get("WANDB_API_KEY") else "offline"


class Tracker:
    """The driver's end: sends and forgets."""

    def __init__(self, actor: Any | None) -> None:
        self._actor = actor
        self._last: Any = None

    @classmethod
    def start(cls, settings: TrackingSettings, folder: RunFolder) -> Tracker:
        mode = resolved_mode(settings)
        if mode == "none":
            return cls(None)
        # Where the driver is: there the key is, and the folder of what is written offline.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        remote: Any = ray.remote(WandbActor)
        pinned = remote.options(num_cpus=0, scheduling_strategy=here)
        return cls(pinned.remote(mode, settings.project, folder.folder.name, str(folder.scratch.resolve())))

    def trial(self, candidate: Candidate, trial: Trial, curve: Sequence[Metric]) -> None:
        if self._actor is not None:
            self._last = self._actor.trial.remote(candidate, trial, tuple(curve))

    def close(self) -> None:
        """Give what was sent a moment to be written; what is not by then is lost to W&B only."""
        if self._last is not None:
            with contextlib.suppress(ray.exceptions.RayError):
                ray.wait([self._last], timeout=_DRAIN_S)


class WandbActor:
    """Writes W&B runs, one after another."""

    def __init__(self, mode: str, project: str, group: str, folder: str) -> None:
        self._mode, self._project, self._group, self._folder = mode, project, group, folder
        os.nice(10)  # trials first
        with contextlib.suppress(OSError):  # then W&B says so, and nobody else has to know
            Path(folder).mkdir(parents=True, exist_ok=True)
        os.environ.setdefault("WANDB_SILENT", "true")
        os.environ.setdefault("WANDB_CONSOLE", "off")

    def trial(self, candidate: Candidate, trial: Trial, curve: tuple[Metric, ...]) -> None:
        config = {
            "candidate_id": candidate.candidate_id,
            "number": candidate.number,
            "name": candidate.name,
            "arm": candidate.arm,
            "parents": list(candidate.parent_ids),
            "mode": candidate.mode,
            "model": candidate.model,
            "genome": candidate.genome,
            "stage": trial.stage,
            "seed": trial.seed,
            "num_parameters": trial.num_parameters,
            "ffn_width": trial.ffn_width,
        }
        tags = [candidate.arm, trial.status.value, *([trial.failure.value] if trial.failure else [])]
        points = [
            {f"{m.task}/loss": m.loss, f"{m.task}/grad_norm": m.grad_norm, f"{m.task}/step": m.step} for m in curve
        ]
        self._log(trial.trial_id, trial.stage, tags, config, points, _plain(trial))

    def _log(
        self,
        name: str,
        job_type: str,
        tags: Sequence[str],
        config: dict[str, Any],
        points: Sequence[dict[str, Any]],
        summary: dict[str, Any],
    ) -> None:
        try:
            import wandb

            run = wandb.init(
                project=self._project,
                group=self._group,
                job_type=job_type,
                name=name,
                id=name,
                tags=list(tags),
                config=config,
                dir=self._folder,
                mode="online" if self._mode == "online" else "offline",
                resume="allow" if self._mode == "online" else None,
                reinit="create_new",
                settings=wandb.Settings(silent=True, console="off", init_timeout=30, x_disable_stats=True),
            )
            for point in points:
                run.log(point)
            run.summary.update({key: value for key, value in summary.items() if value is not None})
            run.finish()
        except Exception as error:  # noqa: BLE001  # the boundary to W&B: whatever it throws must not reach a trial
            # Where this cannot be written either, there is nobody left to tell.
            with contextlib.suppress(OSError), (Path(self._folder) / LOG).open("a") as log:
                log.write(f"{name}: {type(error).__name__}: {error}\n")


def _plain(record: Trial) -> dict[str, Any]:
    values = dataclasses.asdict(record)
    return {key: value for key, value in values.items() if isinstance(value, int | float | str)}
