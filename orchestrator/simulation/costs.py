"""What the outside costs, as measured; docs/benchmarks.md names machine and date of each."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Seconds, unless the name says otherwise. Raises ValueError for a figure that is none."""

    # benchmarks/results/engine_overhead.json: the mean of 2,000 trials; the last take no longer than the first.
    engine_s: float = 0.0194
    engine_growth_s: float = 0.0
    # benchmarks/results/store.json and cognition_scale.json: 11.6 ms for 10 rows, 25.8 ms for 1,582.
    commit_s: float = 0.0115
    row_s: float = 9.0e-6
    # benchmarks/results/trust_cost.json: the gates of the four baselines.
    gates_s: tuple[float, ...] = (0.94, 1.03, 1.82, 2.05)
    thorough_gate_factor: float = 4.0  # flow.gate_deadline_s has the same factor
    # benchmarks/results/job_start.json: a queued job reaches its first step in a warm slot.
    start_s: float = 0.028
    propose_s: float = 0.010  # benchmarks/simulation.py: a proposal of the grammar
    proposals_at_once: int = 1  # one researcher; a language model's `concurrency`
    # Spread of a trial's time over designs: log standard deviation of the four baselines' 5.22, 5.05, 7.50 and 7.54 s.
    spread: float = 0.22
    # Assumed, not measured: how much comes back.
    refused_share: float = 0.05  # by the gate
    failed_share: float = 0.02  # in training

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            figures = value if isinstance(value, tuple) else (value,)
            if not figures or not all(math.isfinite(figure) and figure >= 0 for figure in figures):
                raise ValueError(f"costs.{field.name} is {value}: use finite numbers of 0 or more")
        if self.proposals_at_once < 1:
            raise ValueError(f"costs.proposals_at_once is {self.proposals_at_once}: use 1 or more")
        for name in ("refused_share", "failed_share"):
            if getattr(self, name) >= 1:
                raise ValueError(f"costs.{name} is {getattr(self, name)}: use a share below 1")

    def engines_needed(self, num_trials: int, trials_per_s: float, share: float = 0.7) -> int:
        """The fewest engines none of which is busier than this share at its end, with trials dealt out evenly."""
        if trials_per_s <= 0:
            return 1
        num = 1
        while trials_per_s / num * (self.engine_s + self.engine_growth_s * num_trials / num) > share:
            num += 1
            if num > num_trials:
                return num_trials
        return num
