"""`python -m orchestrator.backtest runs/X [runs/Y ...]`: finished curves through every stopping policy.

Nothing is trained and nothing is written. What is counted is defined in docs/early_stopping.md.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from cognition.statistics import share_interval, spearman
from orchestrator.early_stopping.past import PastRun, read_run
from orchestrator.early_stopping.replay import Tally, replay, replay_orders
from orchestrator.early_stopping.settings import NONE, POLICIES, StoppingSettings
from orchestrator.errors import UsageError

MOST_WINNERS_LOST = 0.05
_PLAIN_WIDTH = 140
_SHARES = (0.25, 0.5, 0.75)  # of the training, at which ranks are compared with the end


@dataclass(frozen=True, slots=True, kw_only=True)
class Backtest:
    """One policy's figures: in the order of time, and summed over other orders of the same candidates."""

    settings: StoppingSettings
    in_time: Tally
    elsewise: Tally

    @property
    def may_be_recommended(self) -> bool:
        return max(self.in_time.winners_lost, self.elsewise.winners_lost) <= MOST_WINNERS_LOST


def backtest(settings: StoppingSettings, runs: Sequence[PastRun], num_orders: int) -> Backtest:
    """All runs through one policy; each run is a world of its own."""
    return Backtest(
        settings=settings,
        in_time=sum((replay(settings, run) for run in runs), Tally()),
        elsewise=sum((replay_orders(settings, run, num_orders) for run in runs), Tally()),
    )


def recommended(backtests: Sequence[Backtest]) -> Backtest | None:
    """The one that saves most while it loses at most 5% of the winners; None where none saves anything."""
    useful = [test for test in backtests if test.may_be_recommended and test.in_time.steps_saved]
    return max(useful, key=lambda test: test.in_time.saved, default=None)


def rank_correlations(runs: Sequence[PastRun], shares: Sequence[float] = _SHARES) -> Mapping[float, float | None]:
    """Spearman's correlation of training losses at shares of the training with sealed losses, mean over runs."""
    found: dict[float, float | None] = {}
    for share in shares:
        each = []
        for run in runs:
            at = [[point.loss for point in trial.points if point.step <= share * trial.steps] for trial in run.trials]
            pairs = [(losses[-1], trial.final) for losses, trial in zip(at, run.trials, strict=True) if losses]
            rho = spearman([loss for loss, _ in pairs], [final for _, final in pairs])
            each += [] if rho is None else [rho]
        found[share] = sum(each) / len(each) if each else None
    return found


def main(arguments: list[str]) -> int:
    """Exit codes: 0 shown, 2 bad input."""
    asked = _parser().parse_args(arguments)
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = _PLAIN_WIDTH
    try:
        policies = asked.policy or [policy for policy in POLICIES if policy != NONE]
        settings = [_settings(policy, asked) for policy in policies]
        if asked.orders < 1:
            raise UsageError(f"--orders is {asked.orders}: use 1 or more")
        runs = [read_run(path, asked.stage) for path in asked.runs]
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    _show(console, runs, [backtest(each, runs, asked.orders) for each in settings], asked)
    return 0


def _parser() -> argparse.ArgumentParser:
    default = StoppingSettings()
    parser = argparse.ArgumentParser(
        prog="python -m orchestrator.backtest",
        description="What stopping policies would have saved and lost on finished curves.",
    )
    parser.add_argument("runs", nargs="+", metavar="runs/NAME", help="folders of campaigns that were not stopped early")
    parser.add_argument("--stage", default="explore", help="the stage whose curves are taken (%(default)s)")
    parser.add_argument("--policy", action="append", choices=POLICIES, help="only this one; may be given again")
    parser.add_argument("--orders", type=int, default=20, help="other orders of the candidates (%(default)s)")
    for name, kind in (("keep", float), ("first_look", float), ("epsilon", float), ("eta", float), ("min_peers", int)):
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=kind, default=getattr(default, name), help=f"stopping.{name} (%(default)s)")
    return parser


def _settings(policy: str, asked: argparse.Namespace) -> StoppingSettings:
    default = StoppingSettings()
    return StoppingSettings(
        policy=policy,
        keep=asked.keep,
        first_look=asked.first_look,
        rungs=tuple(sorted({max(asked.first_look, rung) for rung in default.rungs})),
        eta=asked.eta,
        epsilon=asked.epsilon,
        min_peers=asked.min_peers,
    )


def _show(console: Console, runs: Sequence[PastRun], tests: Sequence[Backtest], asked: argparse.Namespace) -> None:
    for run in runs:
        winners = f"{sum(trial.number >= run.num_founders for trial in run.trials)} of them of candidates"
        console.print(f"curves      {run.name}: {len(run.trials)} of stage {asked.stage}, {winners}", markup=False)
        if run.num_stopped:
            warning = (
                f"{run.num_stopped} trials were stopped early there: their ends are unknown, and the figures too good"
            )
            console.print(f"warning     {run.name}: {warning}", markup=False)
    most = max((_on_one_seed(run) for run in runs), default=0)
    few = [test.settings.min_peers for test in tests if most <= test.settings.min_peers]
    if few:
        told = f"no run has more than {most} candidates' curves on one seed, and no policy looks below {1 + min(few)}"
        console.print(f"warning     {told} (--min-peers and one more): zeros say nothing", markup=False)
    ranks = ", ".join(f"{rho:.2f} at {share:.0%}" for share, rho in rank_correlations(runs).items() if rho is not None)
    console.print(f"ranks       correlation of training losses with sealed losses: {ranks}", markup=False)
    table = Table(box=None, pad_edge=False)
    for heading in ("policy", "saved", "stopped", "false kills", "95%", "winners lost"):
        table.add_column(heading)
    for heading in ("saved", "false kills", "winners lost"):
        table.add_column(f"{heading}*")
    for test in tests:
        table.add_row(*_cells(test))
    console.print(table)
    console.print(f"            * over {asked.orders} other orders of the candidates", markup=False)
    best = recommended(tests)
    if best is None:
        console.print(f"recommended none: nothing saves steps at {MOST_WINNERS_LOST:.0%} of the winners lost or less")
    else:
        console.print(
            f"recommended {best.settings.policy}: saves most at {MOST_WINNERS_LOST:.0%} of the winners lost or less"
        )


def _on_one_seed(run: PastRun) -> int:
    """Curves of candidates on the seed that has most of them."""
    seeds = Counter(trial.seed for trial in run.trials if trial.number >= run.num_founders)
    return max(seeds.values(), default=0)


def _cells(test: Backtest) -> tuple[str, ...]:
    there, other = test.in_time, test.elsewise
    interval = "-"
    if there.num_stopped:
        low, high = share_interval(there.num_false, there.num_stopped)
        interval = f"{low:.1%} to {high:.1%}"
    rate = other.false_kill_rate
    return (
        test.settings.policy,
        f"{there.saved:.1%}",
        f"{there.num_stopped} of {there.num_trials}",
        f"{there.num_false} of {there.num_stopped}",
        interval,
        f"{there.num_winners_lost} of {there.num_winners}",
        f"{other.saved:.1%}",
        "-" if rate is None else f"{rate:.1%}",
        f"{other.winners_lost:.1%}",
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
