"""The trial engine: one long-lived Ray Tune run that is fed through a queue and kept warm (D6).

A `Tuner` runs in a thread. Its Searcher hands out what the board says is next and says "none now" while there is
nothing; hosts (Tune trainables) are reused, so a new trial costs a queue hop instead of a process start. Each host owns
a fork server; generated code runs in that server's children only. A scheduler may end a trial under way: its host is
told, and the board writes the row.

What this does not guarantee: nothing here is durable. A job that was under way when the process ended is simply not
in the store, and the campaign asks for it again.
"""

from __future__ import annotations

import concurrent.futures
import logging
import os
import socket
import threading
import uuid
from collections.abc import Callable, Mapping
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

import ray  # noqa: E402
from ray import tune  # noqa: E402
from ray.tune.search import Searcher  # noqa: E402
from ray.tune.stopper import Stopper  # noqa: E402

from agents.protocols import Trained  # noqa: E402
from cognition.records import Metric, Trial  # noqa: E402
from models.efficiency.run import EfficiencyRun  # noqa: E402
from models.sandbox.settings import SandboxSettings  # noqa: E402
from models.scratch import Scratch  # noqa: E402
from models.trial import TrialRun  # noqa: E402
from models.trial_job import TrialJob  # noqa: E402
from orchestrator.board import JobBoard, Order, RunningTrial  # noqa: E402
from orchestrator.early_stopping.recalled import Recalled  # noqa: E402
from orchestrator.early_stopping.scheduler import EarlyStopping  # noqa: E402
from orchestrator.early_stopping.settings import StoppingSettings  # noqa: E402
from orchestrator.pools import Pool  # noqa: E402

_BOARDS: dict[str, JobBoard] = {}
_log = logging.getLogger(__name__)


class QueueSearcher(Searcher):
    """Tune's view of the board. Tune pickles searchers with the Tuner, so it knows its board by name only."""

    def __init__(self, board_name: str, common: Mapping[str, Any]) -> None:
        """`common`: what every host is configured with, beside its order."""
        super().__init__(metric="loss", mode="min")
        self.board_name = board_name
        self.common = dict(common)
        self._live: dict[str, Order] = {}
        self._hosts: dict[str, Any] = {}

    def suggest(self, trial_id: str) -> Any:
        board = _BOARDS[self.board_name]
        order = board.take(block=not self._live)
        if board.closed:
            return Searcher.FINISHED
        if order is None:
            return None
        self._live[trial_id] = order
        return {**self.common, "job": order.job, "pool": order.pool, "number": order.number, "horizon": order.horizon}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        if trial_id not in self._live:
            return
        board = _BOARDS[self.board_name]
        if "host" in result:
            self._hosts[trial_id] = result["host"]
            board.started(self._live[trial_id].job.trial_id, result["worker"], result["started_at"])
        if isinstance(result.get("metric"), Metric):
            board.progressed(result["metric"])

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        order, host = self._live.pop(trial_id, None), self._hosts.pop(trial_id, None)
        if order is None:
            return
        board, ours = _BOARDS[self.board_name], order.job.trial_id
        if not error and isinstance(last := (result or {}).get("metric"), Metric):
            board.progressed(last)  # Tune tells of the result that ends a trial here alone
        outcome = (result or {}).get("outcome")
        if isinstance(outcome, Trial) and not error:
            board.finish(outcome, (result or {}).get("efficiency", ()))
        elif error or (reason := board.hopeless(ours)) is None:
            board.lost(ours, "the worker that hosted the trial ended")
        else:
            if host is not None:
                host.end_trial.remote(reason)  # it may stand idle from now on, and its child must not go on training
            board.stopped(ours, reason)

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
        self._server = sandbox.fork_server(config["job"].device)
        self._run: TrialRun | EfficiencyRun | None = None
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.end_trial()
        job: TrialJob = new_config["job"]
        self._run = TrialRun(job, self._server) if job.efficiency is None else EfficiencyRun(job, self._server)
        self._told = False
        return True

    def step(self) -> dict[str, Any]:
        assert self._run is not None
        if not self._told:  # that the slot is taken, before anything of the trial's
            self._told = True
            worker, host = f"{socket.gethostname()}:{os.getpid()}", ray.get_runtime_context().current_actor
            return {"host": host, "worker": worker, "started_at": self._run.started_at}
        item = self._run.advance()
        if isinstance(item, Trial):
            rows = self._run.rows if isinstance(self._run, EfficiencyRun) else ()
            self._run = None
            return {"outcome": item, "efficiency": rows, "done": True}
        return {"metric": item, "loss": item.loss, "again": self._run.taking_up}

    def end_trial(self, reason: str = "") -> None:
        """Nothing of the trial runs on; with a reason it is over for good, and nothing is kept to go on from."""
        run, self._run = self._run, None
        if run is not None and reason:
            run.stop(reason)
            while not isinstance(run.advance(), Trial):
                pass
        elif run is not None:
            run.cancel()

    def cleanup(self) -> None:
        self.end_trial()
        self._server.close()


class TrialEngine:
    """Runs trials on the cluster's pools and gives each back as a finished, stopped or failed `Trial`.

    Args:
        pools: what one trial takes, by name.
        most: at most so many at once over all pools, whatever the cluster has; None: as many as fit.
        host: the Tune trainable; benchmarks and tests hand in their own.
        sandbox: how the hosts confine candidates.
        stopping: policies by stage, which may stop trials under way; nothing is stopped at other stages.
        num_founders: candidates with lower numbers are never stopped.
        past: what policies compare with from the beginning.
        ended: called, in its thread, when the Tuner has ended although nobody closed the engine: nothing runs any more.
    """

    def __init__(
        self,
        pools: Mapping[str, Pool],
        most: int | None = None,
        host: type[Any] = TrialHost,
        sandbox: SandboxSettings | None = None,
        stopping: Mapping[str, StoppingSettings] | None = None,
        num_founders: int = 0,
        past: Recalled | None = None,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        self._name = uuid.uuid4().hex
        self._pools = dict(pools)
        self._board = _BOARDS.setdefault(self._name, JobBoard(pools, most, _capacity))
        self._host = host
        self._sandbox = sandbox or SandboxSettings()
        self._ended = ended
        self._scheduler = EarlyStopping(stopping or {}, num_founders, self._board.decided)
        if past is not None:
            self._scheduler.recall(past)
            for early_stop in past.decided:
                self._board.decided(early_stop)
        self._scratch = Scratch("trial-engine-")
        self._thread = threading.Thread(target=self._tune, name="tuner", daemon=True)
        self._thread.start()

    def submit(self, order: Order) -> concurrent.futures.Future[Trained]:
        return self._board.submit(order)

    def running(self) -> tuple[RunningTrial, ...]:
        return self._board.running()

    def drain(self) -> None:
        self._board.drain()

    def close(self, timeout_s: float = 10.0) -> None:
        """End the Tuner with its trials and give the cluster's resources back; what is stuck ends with the process."""
        self._board.close()
        self._thread.join(timeout_s)
        _BOARDS.pop(self._name, None)
        self._scheduler.close()
        self._scratch.remove()

    def _tune(self) -> None:
        """The Tuner's thread: whatever ends it is written down, and told."""
        try:
            self._fit()
        except Exception:  # noqa: BLE001  the thread's boundary: Tune raises whatever its disk or its cluster does
            _log.exception("the Tuner ended")
        finally:
            if not self._board.closed:
                self._ended()

    def _fit(self) -> None:
        logging.getLogger("ray.tune").setLevel(logging.ERROR)
        pools = self._pools

        def factory(config: dict[str, Any]) -> tune.PlacementGroupFactory:
            return tune.PlacementGroupFactory([pools[config["pool"]].bundle])

        tuner = tune.Tuner(
            tune.with_resources(self._host, factory),
            tune_config=tune.TuneConfig(
                search_alg=QueueSearcher(self._name, {"sandbox": self._sandbox}),
                scheduler=self._scheduler,
                num_samples=-1,
                reuse_actors=True,
                trial_name_creator=_trial_name,
                trial_dirname_creator=_trial_name,
            ),
            run_config=tune.RunConfig(
                name="trials",
                storage_path=str(self._scratch.path),
                verbose=0,
                stop=BoardStopper(self._name),
                failure_config=tune.FailureConfig(max_failures=0),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        tuner.fit()


def _capacity() -> Mapping[str, float]:
    """What the cluster has in all, at this moment."""
    capacity: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return capacity


def _trial_name(trial: Any) -> str:
    return str(trial.trial_id)
