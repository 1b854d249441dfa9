"""Sums over a campaign's rows, kept as they come: what is shown twice a second may not walk through all of them."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import Counter, defaultdict
from collections.abc import Sequence

from cognition.records import Charge, FailureKind, Report, Trial


class Tallies:
    """Takes each row once."""

    def __init__(self) -> None:
        self.num_trials: Counter[str] = Counter()  # by stage
        self.num_finished = 0
        self.measured: set[tuple[str, str]] = set()  # candidates whose efficiency has rows, and the stages
        self.failures: Counter[FailureKind | None] = Counter()  # of the trials that did not finish
        self.num_refusals = 0  # reports
        self._refused: set[int] = set()  # numbers whose latest attempt was refused
        self._latest: dict[int, int] = {}  # attempt by number
        self._slot_s: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])  # by stage: sum, number of finished
        self.slot_s = self.gpu_s = 0.0  # charged
        self._charges: list[tuple[float, str, Charge]] = []  # by their end

    def trial(self, trial: Trial) -> None:
        self.num_trials[trial.stage] += 1
        if trial.succeeded:
            self.num_finished += 1
            total = self._slot_s[trial.stage]
            total[0] += trial.slot_s
            total[1] += 1
        else:
            self.failures[trial.failure] += 1

    def charge(self, charge: Charge) -> None:
        self.slot_s += charge.slot_s
        self.gpu_s += charge.gpu_s
        insort(self._charges, (charge.finished_at, charge.charge_id, charge), key=lambda entry: entry[:2])

    def report(self, report: Report) -> None:
        self.num_refusals += report.refused
        if report.attempt >= self._latest.get(report.number, -1):
            self._latest[report.number] = report.attempt
            (self._refused.add if report.refused else self._refused.discard)(report.number)

    @property
    def num_refused(self) -> int:
        """Numbers whose latest attempt was refused."""
        return len(self._refused)

    def mean_slot_s(self, stage: str) -> float | None:
        """What a finished trial of a stage took on average; None before there is one."""
        total, num = self._slot_s.get(stage, (0.0, 0.0))
        return total / num if num else None

    def charges_after(self, since: float) -> Sequence[Charge]:
        """Those that ended later than this, by their end."""
        first = bisect_right(self._charges, since, key=lambda entry: entry[0])
        return [charge for _, _, charge in self._charges[first:]]
