"""Trials that have ended, taken off the list that Tune walks through whenever it looks for one to begin.

Otherwise what a trial takes the engine would grow with all that were before it.
"""

from __future__ import annotations

from typing import Any

_MOST_ENDED = 256  # beside as many as there are live ones: each is walked past a bounded number of times


def forget_ended_trials(tune_controller: Any) -> None:
    """When another trial is added: the rows of those that ended are the board's, and Tune asks for none again."""
    trials = tune_controller.get_trials()
    if len(trials) > 2 * len(tune_controller.get_live_trials()) + _MOST_ENDED:
        trials[:] = [trial for trial in trials if not trial.is_finished()]
