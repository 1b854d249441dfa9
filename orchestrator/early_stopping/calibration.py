"""What a policy is expected to do, by a backtest on the curves that are shipped (benchmarks/early_stopping.py).

Not guaranteed: that other scales, slots and data behave like these; a backtest on one's own runs says more.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cognition.statistics import share_interval
from orchestrator.early_stopping.past import PastRun, read_runs
from orchestrator.early_stopping.replay import Tally, replay
from orchestrator.early_stopping.settings import StoppingSettings

CURVES = Path(__file__).with_name("calibration.csv")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """A policy on the shipped curves, in their order of time."""

    saved: float  # share of the training steps
    num_stopped: int
    num_false: int  # stopped, although they would have reached the bar
    low: float | None  # 95% interval of the share of false ones among the stopped; None: nothing was stopped
    high: float | None

    @property
    def in_words(self) -> str:
        """For the line that a campaign prints at its start."""
        if self.low is None or self.high is None:
            return "on the shipped curves (scale cpu) it stops nothing"
        return (
            f"on the shipped curves (scale cpu) it saves {self.saved:.0%} of the steps, and {self.num_false} of "
            f"{self.num_stopped} stops are wrong ({self.low:.0%} to {self.high:.0%} with 95% confidence)"
        )


def expected_rate(settings: StoppingSettings) -> Expected:
    """The false-kill rate of a policy, with exactly these settings, and what it saves."""
    total = sum((replay(settings, run) for run in _shipped()), Tally())
    low, high = share_interval(total.num_false, total.num_stopped) if total.num_stopped else (None, None)
    return Expected(saved=total.saved, num_stopped=total.num_stopped, num_false=total.num_false, low=low, high=high)


@cache
def _shipped() -> tuple[PastRun, ...]:
    return read_runs(CURVES)
