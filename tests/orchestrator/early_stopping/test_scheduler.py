"""The scheduler on a real Tuner, with a scripted trainable."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cognition.records import EarlyStop
from orchestrator.early_stopping.scheduler import EarlyStopping
from orchestrator.early_stopping.settings import StoppingSettings
from orchestrator.trial_engine import Searcher, tune  # Tune as the engine sets it up
from tests.orchestrator.early_stopping.test_board import GOOD, NUM_FOUNDERS, job, metrics_of, trial_of

LEVELS = {1: 9.0} | {NUM_FOUNDERS + place: level for place, level in enumerate(GOOD[:4])} | {50: 3.0, 51: 1.9, 52: 3.1}
ENDED: dict[int, dict[str, Any]] = {}  # the last result of each candidate; Tune pickles searchers, so not in its state


class OneAfterAnother(Searcher):  # type: ignore[misc]
    """Hands out the candidates in order, each when the one before it has ended."""

    def __init__(self) -> None:
        super().__init__(metric="loss", mode="min")
        self.left = list(LEVELS)
        self.live: dict[str, int] = {}

    def suggest(self, trial_id: str) -> Any:
        if self.live:
            return None
        if not self.left:
            return Searcher.FINISHED
        number = self.live[trial_id] = self.left.pop(0)
        return {"job": job(number), "number": number, "horizon": None, "level": LEVELS[number]}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        ENDED[self.live.pop(trial_id)] = {"error": error, **(result or {})}

    def save(self, checkpoint_path: str) -> None:
        """Nothing to keep."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing was kept."""


class Scripted(tune.Trainable):  # type: ignore[misc]
    """One point of a made-up curve a step, then the outcome."""

    def setup(self, config: dict[str, Any]) -> None:
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.number, self.level = new_config["number"], new_config["level"]
        self.points = metrics_of(self.number, self.level)[4::5]  # at half of the training and at its end
        return True

    def step(self) -> dict[str, Any]:
        if self.points:
            metric = self.points.pop(0)
            return {"metric": metric, "loss": metric.loss}
        return {"outcome": trial_of(self.number, self.level), "done": True}


@pytest.fixture
def told() -> list[EarlyStop]:
    return []


@pytest.fixture
def scheduler(told: list[EarlyStop]) -> Iterator[EarlyStopping]:
    policies = {"explore": StoppingSettings(policy="halving", min_peers=4, controls=0.0)}
    scheduler = EarlyStopping(policies, NUM_FOUNDERS, told.append)
    yield scheduler
    scheduler.close()


def test_tune_ends_what_the_policy_stops_and_nothing_else(
    ray_here: None, scheduler: EarlyStopping, told: list[EarlyStop], tmp_path: Path
) -> None:
    ENDED.clear()
    tune.Tuner(
        tune.with_resources(Scripted, {"CPU": 0.5}),
        tune_config=tune.TuneConfig(
            search_alg=OneAfterAnother(), scheduler=scheduler, num_samples=-1, reuse_actors=True
        ),
        run_config=tune.RunConfig(
            storage_path=str(tmp_path), verbose=0, checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False)
        ),
    ).fit()
    assert list(ENDED) == list(LEVELS)
    assert not any(result["error"] for result in ENDED.values())
    assert {number for number, result in ENDED.items() if "outcome" not in result} == {50, 52}
    assert {number: result["metric"].step for number, result in ENDED.items() if "metric" in result} == {50: 50, 52: 50}
    assert [(stop.trial_id, stop.step, stop.spared) for stop in told] == [("t50", 50, False), ("t52", 50, False)]


def test_it_can_be_pickled_and_still_knows_its_board(scheduler: EarlyStopping) -> None:
    assert pickle.loads(pickle.dumps(scheduler)).board_name == scheduler.board_name
