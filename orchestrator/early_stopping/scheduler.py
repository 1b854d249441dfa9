"""The adapter to Ray Tune: a scheduler that stops what the board says has to stop, and is otherwise first in first out.

Tune pickles schedulers with the Tuner, so this one knows its board by name only. A Tune trial's configuration holds
`job`, and `number` and `horizon` where the engine was told them; results hold `metric`, and `outcome` at the end.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from cognition.records import EarlyStop, Metric, Trial
from orchestrator.early_stopping.board import StoppingBoard
from orchestrator.early_stopping.recalled import Recalled
from orchestrator.early_stopping.settings import StoppingSettings
from orchestrator.ended_trials import forget_ended_trials
from orchestrator.idle_hosts import keep_idle_hosts

_BOARDS: dict[str, StoppingBoard] = {}


class EarlyStopping(FIFOScheduler):
    """Stops hopeless trials; the arguments are those of `StoppingBoard`. `close` it after the Tuner."""

    def __init__(
        self, policies: Mapping[str, StoppingSettings], num_founders: int, told: Callable[[EarlyStop], None]
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.board_name = uuid.uuid4().hex
        _BOARDS[self.board_name] = StoppingBoard(policies, num_founders, told)

    def recall(self, past: Recalled) -> None:
        """What earlier starts left in the store: `StoppingBoard.recall`."""
        _BOARDS[self.board_name].recall(past)

    def close(self) -> None:
        _BOARDS.pop(self.board_name, None)

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        keep_idle_hosts(tune_controller)
        forget_ended_trials(tune_controller)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        metric, config = result.get("metric"), trial.config
        board = _BOARDS.get(self.board_name)
        if board is None or not isinstance(metric, Metric):
            return str(TrialScheduler.CONTINUE)
        again = bool(result.get("again"))
        stops = board.point(config["job"], metric, config["number"], config.get("horizon"), again=again)
        return str(TrialScheduler.STOP if stops else TrialScheduler.CONTINUE)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        outcome, board = result.get("outcome"), _BOARDS.get(self.board_name)
        if board is not None and isinstance(outcome, Trial):
            board.ended(outcome)
