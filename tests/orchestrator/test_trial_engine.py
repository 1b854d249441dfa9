"""The trial engine on a real Ray, with hosts whose trials are instant, slow or fatal."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from ray import tune

from cognition.records import FailureKind, Metric, Trial, TrialStatus
from models.data import DataSpec
from models.sandbox.settings import SandboxSettings
from models.scale import load_scale
from models.trial import TrialJob
from orchestrator import trial_engine
from orchestrator.trial_engine import JobBoard, QueueSearcher, TrialEngine

STAGE = load_scale("tiny").stage("explore")
DATA = DataSpec(source="stdlib", tokenizer="bytes", max_bytes=1_000_000, seed=0)


def job(name: str, source: str = "") -> TrialJob:
    return TrialJob(trial_id=name, candidate_id=name, source=source, slot="token_mixer", stage=STAGE, seed=0, data=DATA)


class ScriptedHost(tune.Trainable):  # type: ignore[misc]
    """Two points and an outcome; `die` in the source ends the process, `wait` holds the slot for a moment."""

    def setup(self, config: dict[str, Any]) -> None:
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.job, self.num_steps, self.since = new_config["job"], 0, time.time()
        return True

    def step(self) -> dict[str, Any]:
        if self.job.source == "die":
            os._exit(7)
        if self.job.source == "wait":
            time.sleep(0.2)
        self.num_steps += 1
        if self.num_steps < 3:
            metric = Metric(
                trial_id=self.job.trial_id,
                task="text",
                step=self.num_steps,
                loss=3.0 - self.num_steps,
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


def half_a_cpu(job: TrialJob) -> dict[str, float]:
    return {"CPU": 0.5}


@pytest.fixture(scope="module")
def engine(ray_here: None) -> Iterator[TrialEngine]:
    engine = TrialEngine(half_a_cpu, max_trials=2, host=ScriptedHost)
    yield engine
    engine.close()


def test_a_trial_comes_back_with_its_curve_and_its_queueing_time(engine: TrialEngine) -> None:
    asked = time.time()
    trial = engine.submit(job("one")).result(timeout=60)
    assert trial.succeeded
    assert asked - 1 < trial.queued_at <= trial.finished_at
    assert [metric.step for metric in engine.curve("one")] == [1, 2]
    assert engine.curve("one") == ()  # handed over once


def test_asking_twice_for_the_same_trial_trains_once(engine: TrialEngine) -> None:
    first, second = engine.submit(job("twice", "wait")), engine.submit(job("twice", "wait"))
    assert first is second
    assert first.result(timeout=60).trial_id == "twice"


def test_a_dead_worker_is_a_typed_failure_and_the_engine_goes_on(engine: TrialEngine) -> None:
    lost = engine.submit(job("doomed", "die")).result(timeout=60)
    assert (lost.status, lost.failure) == (TrialStatus.failed, FailureKind.worker_died)
    assert engine.submit(job("after")).result(timeout=60).succeeded


def test_hosts_are_reused(engine: TrialEngine) -> None:
    trials = [engine.submit(job(f"many{i}")) for i in range(12)]
    workers = {future.result(timeout=60).worker for future in trials}
    assert len(workers) <= 3


def test_running_trials_can_be_seen(engine: TrialEngine) -> None:
    future = engine.submit(job("seen", "wait"))
    seen = []
    while not future.done():
        seen += [trial.trial_id for trial in engine.running()]
        time.sleep(0.02)
    assert "seen" in seen
    assert not engine.running()


def test_no_more_trials_are_handed_out_than_there_are_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    board = JobBoard()
    monkeypatch.setitem(trial_engine._BOARDS, "here", board)
    searcher = QueueSearcher("here", 1, SandboxSettings())
    for name in ("first", "second"):
        board.submit(job(name))
    assert searcher.suggest("a") == {"job": job("first"), "sandbox": SandboxSettings()}
    assert searcher.suggest("b") is None
    searcher.on_trial_complete("a", error=True)
    assert searcher.suggest("b") == {"job": job("second"), "sandbox": SandboxSettings()}


def test_a_closed_board_refuses_jobs_and_ends_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    board = JobBoard()
    monkeypatch.setitem(trial_engine._BOARDS, "here", board)
    board.close()
    with pytest.raises(RuntimeError, match="late"):
        board.submit(job("late"))
    assert QueueSearcher("here", None, SandboxSettings()).suggest("a") == QueueSearcher.FINISHED
