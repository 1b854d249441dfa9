"""The trial engine: one long-lived Ray Tune run that is fed through a queue and kept warm (D6).

A `Tuner` runs in a thread. Its Searcher hands out queued jobs and says "none now" while the queue is empty; hosts
(Tune trainables) are reused, so a new trial costs a queue hop instead of a process start. Each host owns a fork
server; generated code runs in that server's children only.

What this does not guarantee: nothing here is durable. A job that was under way when the process ended is simply not
in the store, and the campaign asks for it again.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import logging
import os
import tempfile
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Read by ray.tune when it is imported or when the Tuner starts: the store is the record, Tune keeps none of its own.
_TUNE_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    "TUNE_WARN_THRESHOLD_S": "60",
    "TUNE_MAX_PENDING_TRIALS_PG": "64",
    "RAY_AIR_NEW_OUTPUT": "0",
}
os.environ.update({name: os.environ.get(name, value) for name, value in _TUNE_ENVIRONMENT.items()})

from ray import tune  # noqa: E402
from ray.tune.search import Searcher  # noqa: E402
from ray.tune.stopper import Stopper  # noqa: E402

from cognition.records import FailureKind, Metric, Trial, TrialStatus  # noqa: E402
from models.sandbox.settings import SandboxSettings  # noqa: E402
from models.trial import TrialJob, TrialRun  # noqa: E402

Resources = Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningTrial:
    """A trial that holds a slot, as the progress view shows it."""

    trial_id: str
    stage: str
    step: int
    loss: float | None
    elapsed_s: float
    started_at: float = 0.0  # the same as long as it is the same attempt
    task: str = ""  # that the step is of: "canary", "text", or a probe's name


class JobBoard:
    """Jobs waiting for a slot and the futures of all that are not finished; lives beside the Tuner, never pickled."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._waiting: deque[str] = deque()
        self._jobs: dict[str, TrialJob] = {}
        self._futures: dict[str, concurrent.futures.Future[Trial]] = {}
        self._queued_at: dict[str, float] = {}
        self._curves: dict[str, list[Metric]] = {}
        self._running: dict[str, float] = {}
        self._draining = False
        self._closed = False

    def submit(self, job: TrialJob) -> concurrent.futures.Future[Trial]:
        """Queue a job; asking again for a trial that is not finished gives the same future."""
        with self._condition:
            if self._closed:
                raise RuntimeError(f"the trial engine is closed: {job.trial_id} was not queued")
            if job.trial_id not in self._futures:
                self._jobs[job.trial_id] = job
                self._futures[job.trial_id] = concurrent.futures.Future()
                self._queued_at[job.trial_id] = time.time()
                self._waiting.append(job.trial_id)
                self._condition.notify_all()
            return self._futures[job.trial_id]

    def take(self, *, block: bool) -> TrialJob | None:
        """The next job, or None. With `block` it waits for one: Tune would otherwise sleep a second between polls."""
        with self._condition:
            while block and (self._draining or not self._waiting) and not self._closed:
                self._condition.wait()
            if self._closed or self._draining or not self._waiting:
                return None
            job = self._jobs[self._waiting.popleft()]
            self._curves[job.trial_id] = []
            return job

    def progressed(self, metric: Metric) -> None:
        with self._condition:
            if metric.trial_id in self._curves:
                self._curves[metric.trial_id].append(metric)
                self._running.setdefault(metric.trial_id, time.time() - metric.elapsed_s)

    def finish(self, trial: Trial) -> None:
        """Resolve the trial's future; the times of the queue are filled in here."""
        with self._condition:
            future = self._futures.pop(trial.trial_id, None)
            self._jobs.pop(trial.trial_id, None)
            self._running.pop(trial.trial_id, None)
            queued_at = self._queued_at.pop(trial.trial_id, 0.0)
        if future is not None:
            future.set_result(dataclasses.replace(trial, queued_at=queued_at))

    def lost(self, job: TrialJob, detail: str) -> None:
        """The host of this job ended without a word."""
        now = time.time()
        self.finish(
            Trial(
                trial_id=job.trial_id,
                candidate_id=job.candidate_id,
                stage=job.stage.name,
                seed=job.seed,
                split=job.stage.split,
                status=TrialStatus.failed,
                failure=FailureKind.worker_died,
                detail=detail,
                started_at=self._running.get(job.trial_id, now),
                finished_at=now,
            )
        )

    def curve(self, trial_id: str) -> tuple[Metric, ...]:
        """Hand over a finished trial's curve, once."""
        with self._condition:
            return tuple(self._curves.pop(trial_id, ()))

    def running(self) -> tuple[RunningTrial, ...]:
        with self._condition:
            now = time.time()
            shown = []
            for trial_id, since in self._running.items():
                last = self._curves[trial_id][-1] if self._curves.get(trial_id) else None
                shown.append(
                    RunningTrial(
                        trial_id=trial_id,
                        stage=self._jobs[trial_id].stage.name,
                        step=last.step if last else 0,
                        loss=last.loss if last else None,
                        elapsed_s=now - since,
                        started_at=since,
                        task=last.task if last else "",
                    )
                )
            return tuple(shown)

    def drain(self) -> None:
        """Hand out no more jobs; what holds a slot goes on."""
        with self._condition:
            self._draining = True

    def close(self) -> None:
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    @property
    def closed(self) -> bool:
        return self._closed


_BOARDS: dict[str, JobBoard] = {}


class QueueSearcher(Searcher):
    """Tune's view of the board. Tune pickles searchers with the Tuner, so it knows its board by name only."""

    def __init__(self, board_name: str, max_trials: int | None, sandbox: SandboxSettings) -> None:
        super().__init__(metric="loss", mode="min")
        self.board_name = board_name
        self.max_trials = max_trials
        self.sandbox = sandbox
        self._live: dict[str, TrialJob] = {}

    def suggest(self, trial_id: str) -> Any:
        board = _BOARDS[self.board_name]
        if self.max_trials is not None and len(self._live) >= self.max_trials and not board.closed:
            return None
        job = board.take(block=not self._live)
        if board.closed:
            return Searcher.FINISHED
        if job is None:
            return None
        self._live[trial_id] = job
        return {"job": job, "sandbox": self.sandbox}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        if isinstance(result.get("metric"), Metric):
            _BOARDS[self.board_name].progressed(result["metric"])

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        job = self._live.pop(trial_id, None)
        if job is None:
            return
        outcome = (result or {}).get("outcome")
        if isinstance(outcome, Trial) and not error:
            _BOARDS[self.board_name].finish(outcome)
        else:
            _BOARDS[self.board_name].lost(job, "the worker that hosted the trial ended")

    def save(self, checkpoint_path: str) -> None:
        """Nothing to keep: the store is the record."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing was kept."""


class BoardStopper(Stopper):
    """Ends the Tune run, running trials included, when the board is closed. Pickled like the searcher."""

    def __init__(self, board_name: str) -> None:
        self.board_name = board_name

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        board = _BOARDS.get(self.board_name)
        return board is None or board.closed


class TrialHost(tune.Trainable):
    """A slot: hosts one trial after another, each in jailed children of its own fork server."""

    def setup(self, config: dict[str, Any]) -> None:
        sandbox: SandboxSettings = config["sandbox"]
        self._server = sandbox.fork_server()
        self._run: TrialRun | None = None
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._end_run()
        self._run = TrialRun(new_config["job"], self._server)
        return True

    def step(self) -> dict[str, Any]:
        assert self._run is not None
        item = self._run.advance()
        if isinstance(item, Trial):
            self._run = None
            return {"outcome": item, "done": True}
        return {"metric": item, "loss": item.loss}

    def cleanup(self) -> None:
        self._end_run()
        self._server.close()

    def _end_run(self) -> None:
        if self._run is not None:
            self._run.cancel()
            self._run = None


class TrialEngine:
    """Runs trials on the cluster's pools and gives each back as a finished or failed `Trial`.

    Args:
        resources_of: what one trial takes, by its job (a function of the stage: the stage names its pool).
        max_trials: at most so many at once, whatever the cluster has; None: as many as fit.
        host: the Tune trainable; benchmarks and tests hand in their own.
        sandbox: how the hosts confine candidates.
    """

    def __init__(
        self,
        resources_of: Callable[[TrialJob], Resources],
        max_trials: int | None = None,
        host: type[Any] = TrialHost,
        sandbox: SandboxSettings | None = None,
    ) -> None:
        self._name = uuid.uuid4().hex
        self._board = _BOARDS.setdefault(self._name, JobBoard())
        self._resources_of = resources_of
        self._max_trials = max_trials
        self._host = host
        self._sandbox = sandbox or SandboxSettings()
        self._scratch = tempfile.TemporaryDirectory(prefix="trial-engine-")
        self._thread = threading.Thread(target=self._tune, name="tuner", daemon=True)
        self._thread.start()

    def submit(self, job: TrialJob) -> concurrent.futures.Future[Trial]:
        return self._board.submit(job)

    def curve(self, trial_id: str) -> tuple[Metric, ...]:
        return self._board.curve(trial_id)

    def running(self) -> tuple[RunningTrial, ...]:
        return self._board.running()

    def drain(self) -> None:
        self._board.drain()

    def close(self, timeout_s: float = 10.0) -> None:
        """End the Tuner with its trials and give the cluster's resources back; what is stuck ends with the process."""
        self._board.close()
        self._thread.join(timeout_s)
        _BOARDS.pop(self._name, None)
        self._scratch.cleanup()

    def _tune(self) -> None:
        logging.getLogger("ray.tune").setLevel(logging.ERROR)
        resources_of = self._resources_of

        def factory(config: dict[str, Any]) -> tune.PlacementGroupFactory:
            return tune.PlacementGroupFactory([dict(resources_of(config["job"]))])

        tuner = tune.Tuner(
            tune.with_resources(self._host, factory),
            tune_config=tune.TuneConfig(
                search_alg=QueueSearcher(self._name, self._max_trials, self._sandbox),
                num_samples=-1,
                reuse_actors=True,
                trial_name_creator=_trial_name,
                trial_dirname_creator=_trial_name,
            ),
            run_config=tune.RunConfig(
                name="trials",
                storage_path=str(Path(self._scratch.name)),
                verbose=0,
                stop=BoardStopper(self._name),
                failure_config=tune.FailureConfig(max_failures=0),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        tuner.fit()


def _trial_name(trial: Any) -> str:
    return str(trial.trial_id)
