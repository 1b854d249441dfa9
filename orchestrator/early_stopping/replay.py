"""A backtest: finished curves through a stopping policy, as if it had been there. Pure; controls are switched off.

Trials come in their order of time and see as peers what had finished, run or been stopped by then, the policy's own
stops included: what it stopped shows no more points and no end. Other orders of the candidates say how much of a figure
is the luck of the order.

Not covered: that a campaign whose trials end sooner goes on to propose others.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from orchestrator.early_stopping.book import CurveBook
from orchestrator.early_stopping.past import PastRun, PastTrial
from orchestrator.early_stopping.policies import decide
from orchestrator.early_stopping.settings import StoppingSettings

_WINNERS_SHARE, _LEAST_WINNERS = 0.1, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What a policy would have done. Tallies add up."""

    num_trials: int = 0  # that could have been stopped: those of founders cannot
    num_stopped: int = 0
    num_false: int = 0  # stopped, although their sealed loss reached the bar of that moment
    num_winners: int = 0
    num_winners_lost: int = 0
    steps: int = 0  # of the text, that all trials trained
    steps_saved: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            **{item.name: getattr(self, item.name) + getattr(other, item.name) for item in dataclasses.fields(Tally)}
        )

    @property
    def saved(self) -> float:
        """Share of all steps."""
        return self.steps_saved / self.steps if self.steps else 0.0

    @property
    def winners_lost(self) -> float:
        """Share of the winners."""
        return self.num_winners_lost / self.num_winners if self.num_winners else 0.0

    @property
    def false_kill_rate(self) -> float | None:
        """Share of the stopped; None where nothing was stopped."""
        return self.num_false / self.num_stopped if self.num_stopped else None


def replay(settings: StoppingSettings, run: PastRun) -> Tally:
    """The run's trials through a policy, in their order of time."""
    books = {trial.seed: CurveBook(run.num_founders, settings.most_peers) for trial in run.trials}
    stopped, false = dict[str, int](), 0
    for trial, index in _in_time(run.trials):
        book = books[trial.seed]
        if trial.trial_id in stopped:
            continue
        if index == len(trial.points):
            book.finish(trial.trial_id, trial.final)
            continue
        point = trial.points[index]
        book.add_point(trial.trial_id, trial.number, point.step, point.loss)
        if trial.number < run.num_founders:
            continue
        decision = decide(settings, book.curve(trial.trial_id), trial.steps, book.peers(trial.trial_id))
        if decision.stop:
            assert decision.bar is not None
            stopped[trial.trial_id] = trial.steps - point.step
            false += trial.final <= decision.bar
            book.stop(trial.trial_id)
    winners = winners_of(run)
    return Tally(
        num_trials=sum(trial.number >= run.num_founders for trial in run.trials),
        num_stopped=len(stopped),
        num_false=false,
        num_winners=len(winners),
        num_winners_lost=sum(winner in stopped for winner in winners),
        steps=sum(trial.steps for trial in run.trials),
        steps_saved=sum(stopped.values()),
    )


def replay_orders(settings: StoppingSettings, run: PastRun, num_orders: int, seed: int = 0) -> Tally:
    """The sum over other orders of the candidates, one trial after another; founders' trials come first, as ever."""
    rng, total = random.Random(seed), Tally()
    for _ in range(num_orders):
        total += replay(settings, _reordered(run, rng))
    return total


def winners_of(run: PastRun) -> frozenset[str]:
    """The best tenth by sealed loss, at least three, of the trials that could have been stopped."""
    eligible = [trial for trial in run.trials if trial.number >= run.num_founders]
    num = max(_LEAST_WINNERS, math.ceil(_WINNERS_SHARE * len(eligible)))
    return frozenset(trial.trial_id for trial in sorted(eligible, key=lambda trial: trial.final)[:num])


def _in_time(trials: Sequence[PastTrial]) -> Iterator[tuple[PastTrial, int]]:
    """Every point of every trial, and its end, by time; the index of an end is the number of points."""
    events = [
        (at, place, index)
        for place, trial in enumerate(trials)
        for index, at in enumerate([*(point.at for point in trial.points), trial.finished_at])
    ]
    return ((trials[place], index) for _, place, index in sorted(events))


def _reordered(run: PastRun, rng: random.Random) -> PastRun:
    founders = [trial for trial in run.trials if trial.number < run.num_founders]
    others = [trial for trial in run.trials if trial.number >= run.num_founders]
    rng.shuffle(others)
    return dataclasses.replace(
        run, trials=tuple(_moved(trial, float(place)) for place, trial in enumerate([*founders, *others]))
    )


def _moved(trial: PastTrial, start: float) -> PastTrial:
    """The same trial within the second after `start`."""
    points = tuple(dataclasses.replace(point, at=start + point.step / (trial.steps + 1)) for point in trial.points)
    return dataclasses.replace(trial, started_at=start, finished_at=start + 1, points=points)
