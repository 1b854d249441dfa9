from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ray.tune.experiment import Trial

from orchestrator.early_stopping.scheduler import EarlyStopping


def test_of_thousands_of_trials_tune_walks_past_few_and_loses_none_that_lives() -> None:
    trials: list[Any] = []
    live: set[Any] = set()
    controller = SimpleNamespace(
        get_trials=lambda: trials, get_live_trials=lambda: live, _actor_cache=None, _trial_metadata={}
    )
    scheduler, longest = EarlyStopping({}, 0, lambda stop: None), 0
    for number in range(3000):
        trial = Trial("host", stub=True, trial_id=f"t{number}")
        trials.append(trial)
        live.add(trial)
        scheduler.on_trial_add(controller, trial)
        longest = max(longest, len(trials))
        if number % 10:  # every tenth goes on to the end
            trial.set_status(Trial.TERMINATED if number % 3 else Trial.ERROR)  # type: ignore[no-untyped-call]
            live.discard(trial)
    assert live <= set(trials)
    assert [trial.trial_id for trial in trials] == sorted(
        (trial.trial_id for trial in trials), key=lambda t: int(t[1:])
    )
    assert longest < 2 * 300 + 300
    scheduler.close()
