"""The trial engine on a real Ray, with hosts whose trials are instant, slow or fatal."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import tune

from cognition.records import FailureKind, Metric, Trial, TrialStatus
from models.data import DataSpec
from models.scale import load_scale
from models.trial import TrialJob
from orchestrator import trial_engine
from orchestrator.board import JobBoard, Order
from orchestrator.early_stopping.settings import StoppingSettings
from orchestrator.pools import Pool
from orchestrator.trial_engine import QueueSearcher, TrialEngine

STAGE = load_scale("tiny").stage("explore")
DATA = DataSpec(source="stdlib", tokenizer="bytes", max_bytes=1_000_000, seed=0)


def order(name: str, source: str = "", pool: str = "small") -> Order:
    job = TrialJob(trial_id=name, candidate_id=name, source=source, slot="token_mixer", stage=STAGE, seed=0, data=DATA)
    return Order(job=job, pool=pool)


def await_file(path: Path) -> None:
    until = time.monotonic() + 150
    while not path.exists() and time.monotonic() < until:
        time.sleep(0.02)


class ScriptedHost(tune.Trainable):  # type: ignore[misc]
    """Two points and an outcome; `die` in the source ends the process, `wait` holds the slot for a moment.

    `until PATH` holds it until there is such a file.
    """

    def setup(self, config: dict[str, Any]) -> None:
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.job, self.num_steps, self.since, self.told = new_config["job"], 0, time.time(), False
        return True

    def end_trial(self, reason: str = "") -> None:
        """Nothing of an instant trial runs on."""

    def step(self) -> dict[str, Any]:
        if not self.told:
            self.told = True
            return {
                "host": ray.get_runtime_context().current_actor,
                "worker": str(os.getpid()),
                "started_at": self.since,
            }
        if self.job.source == "die":
            os._exit(7)
        if self.job.source == "wait":
            time.sleep(0.2)
        if self.job.source.startswith("until "):
            await_file(Path(self.job.source.removeprefix("until ")))
        self.num_steps += 1
        if self.num_steps < 3:
            metric = Metric(
                trial_id=self.job.trial_id,
                task="text",
                step=self.num_steps,
                loss=3.0 - self.num_steps + (9.0 if self.job.source == "behind" else 0.0),
                grad_norm=1.0,
                learning_rate=0.1,
                tokens=1,
                elapsed_s=0.0,
            )
            return {"metric": metric, "loss": metric.loss}
        outcome = Trial(
            trial_id=self.job.trial_id,
            candidate_id=self.job.candidate_id,
            stage="explore",
            seed=0,
            split="validation",
            status=TrialStatus.finished,
            loss=1.0,
            started_at=self.since,
            finished_at=time.time(),
            worker=str(os.getpid()),
        )
        return {"outcome": outcome, "done": True, "loss": 1.0}


POOLS = {"small": Pool(cpus=0.5), "whole": Pool(cpus=2)}


@pytest.fixture(scope="module")
def engine(ray_here: None) -> Iterator[TrialEngine]:
    engine = TrialEngine(POOLS, most=2, host=ScriptedHost)
    yield engine
    engine.close()


def test_a_trial_comes_back_with_its_curve_and_its_queueing_time(engine: TrialEngine) -> None:
    asked = time.time()
    trained = engine.submit(order("one")).result(timeout=200)
    assert trained.trial.succeeded
    assert asked - 1 < trained.trial.queued_at <= trained.trial.finished_at
    assert [metric.step for metric in trained.curve] == [1, 2]


def test_asking_twice_for_the_same_trial_trains_once(engine: TrialEngine, tmp_path: Path) -> None:
    first, second = (engine.submit(order("twice", f"until {tmp_path / 'go'}")) for _ in range(2))
    assert first is second
    (tmp_path / "go").touch()
    assert first.result(timeout=200).trial.trial_id == "twice"


def test_a_dead_worker_is_a_typed_failure_and_the_engine_goes_on(engine: TrialEngine) -> None:
    lost = engine.submit(order("doomed", "die")).result(timeout=200).trial
    assert (lost.status, lost.failure) == (TrialStatus.failed, FailureKind.worker_died)
    assert engine.submit(order("after")).result(timeout=200).trial.succeeded


def test_hosts_are_reused(engine: TrialEngine) -> None:
    trials = [engine.submit(order(f"many{i}")) for i in range(12)]
    workers = {future.result(timeout=200).trial.worker for future in trials}
    assert len(workers) <= 3


def test_running_trials_can_be_seen(engine: TrialEngine, tmp_path: Path) -> None:
    future = engine.submit(order("seen", f"until {tmp_path / 'go'}"))
    deadline = time.monotonic() + 100
    while not engine.running() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [trial.trial_id for trial in engine.running()] == ["seen"]
    (tmp_path / "go").touch()
    assert future.result(timeout=200).trial.succeeded
    assert not engine.running()


def test_trials_of_unlike_pools_take_turns_on_one_machine(engine: TrialEngine, tmp_path: Path) -> None:
    """Two cores: a trial of `whole` has to wait until both are free, and gets them although small ones keep coming."""
    futures = [engine.submit(order(f"small{i}", "wait")) for i in range(6)]
    whole = engine.submit(order("whole", pool="whole"))
    futures += [engine.submit(order(f"late{i}", "wait")) for i in range(11)]
    futures.append(engine.submit(order("last", f"until {tmp_path / 'go'}")))
    assert whole.result(timeout=200).trial.succeeded
    assert not futures[-1].done()
    (tmp_path / "go").touch()
    assert all(future.result(timeout=200).trial.succeeded for future in futures)


def test_an_unknown_pool_is_refused(engine: TrialEngine) -> None:
    with pytest.raises(ValueError, match="'nowhere'; there are small, whole"):
        engine.submit(order("lost", pool="nowhere"))


def test_a_stopped_trial_is_a_row_with_its_reason_and_its_host_hears_of_it(
    ray_here: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four finished peers set the bar; the fifth is far behind at its second point, and would have had a third."""
    monkeypatch.setattr(ScriptedHost, "end_trial", _writes(tmp_path / "ended"))
    policy = StoppingSettings(policy="median", min_peers=4, first_look=0.01, rungs=(0.5,), controls=0.0)
    engine = TrialEngine(POOLS, most=1, host=ScriptedHost, stopping={STAGE.name: policy})
    for peer in range(4):
        assert engine.submit(order(f"peer{peer}")).result(timeout=200).early_stop is None
    trained = engine.submit(order("hopeless", "behind")).result(timeout=200)
    trial, decided = trained.trial, trained.early_stop
    assert (trial.status, trial.failure) == (TrialStatus.stopped, FailureKind.unpromising)
    assert decided is not None
    assert (trial.detail, decided.policy, decided.spared, decided.bar) == (decided.detail, "median", False, 1.0)
    assert (trial.steps, trial.train_loss, trial.loss) == (decided.step, decided.loss, None)
    assert 0 < trial.slot_s <= trial.finished_at - trial.queued_at
    assert [metric.step for metric in trained.curve] == list(range(1, decided.step + 1))
    await_file(tmp_path / "ended")
    assert (tmp_path / "ended").read_text() == "hopeless"
    engine.close()


def _writes(path: Path) -> Any:
    def end_trial(self: ScriptedHost, reason: str = "") -> None:
        path.with_suffix(".tmp").write_text(self.job.trial_id)
        path.with_suffix(".tmp").rename(path)  # whoever finds it finds it whole

    return end_trial


def test_a_draining_board_hands_out_nothing_more() -> None:
    board = JobBoard({"small": Pool()}, None, lambda: {"CPU": 4})
    board.submit(order("first"))
    board.drain()
    assert board.take(block=False) is None


def test_a_closed_board_refuses_jobs_and_ends_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    board = JobBoard(POOLS)
    monkeypatch.setitem(trial_engine._BOARDS, "here", board)
    board.close()
    with pytest.raises(RuntimeError, match="late"):
        board.submit(order("late"))
    assert QueueSearcher("here", {}).suggest("a") == QueueSearcher.FINISHED
