"""Stopping policies on the project's own curves: `python -m benchmarks.early_stopping [runs/X runs/Y ...]`.

With folders (campaigns that stopped nothing early) their finished exploration curves become the ones that are shipped,
orchestrator/early_stopping/calibration.csv. Without, the shipped ones are taken. Printed and kept are:

* rank correlations of training losses with sealed losses, at every tenth of the training;
* errors of two forecasts of the sealed loss: the policy's, from peers, and a power law fitted to each curve alone;
* every policy through the backtest, at its defaults and at neighbouring settings.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.machine import write_result
from cognition.statistics import share_interval
from orchestrator.backtest import backtest, rank_correlations
from orchestrator.early_stopping.calibration import CURVES
from orchestrator.early_stopping.curves import Peer
from orchestrator.early_stopping.extrapolation import predict
from orchestrator.early_stopping.past import PastRun, PastTrial, read_run, read_runs, write_runs
from orchestrator.early_stopping.settings import POLICIES, StoppingSettings

NUM_ORDERS = 100
TENTHS = [tenth / 10 for tenth in range(1, 11)]
WARM_UP = 0.15  # share of the training whose points say nothing of a power law


def neighbours() -> Iterator[tuple[str, StoppingSettings]]:
    """Every policy at its defaults, then with one value changed."""
    for policy in POLICIES:
        yield policy, StoppingSettings(policy=policy)
    for epsilon in (0.01, 0.1):
        yield f"extrapolation, epsilon {epsilon}", StoppingSettings(policy="extrapolation", epsilon=epsilon)
    for keep in (0.1, 0.5):
        yield f"extrapolation, keep {keep}", StoppingSettings(policy="extrapolation", keep=keep)
    for look in (0.3, 0.7):
        yield (
            f"extrapolation, first_look {look}",
            StoppingSettings(policy="extrapolation", first_look=look),
        )
    for peers in (5, 16):
        yield f"extrapolation, min_peers {peers}", StoppingSettings(policy="extrapolation", min_peers=peers)
    for eta in (1.5, 3.0):
        yield f"halving, eta {eta}", StoppingSettings(policy="halving", eta=eta)


def policy_figures(runs: Sequence[PastRun]) -> dict[str, Any]:
    """What each setting saves and loses: in the order of time, and over other orders."""
    found: dict[str, Any] = {}
    for name, settings in neighbours():
        test = backtest(settings, runs, NUM_ORDERS)
        there, other = test.in_time, test.elsewise
        low, high = share_interval(there.num_false, there.num_stopped) if there.num_stopped else (None, None)
        found[name] = {
            "saved": there.saved,
            "num_trials": there.num_trials,
            "num_stopped": there.num_stopped,
            "num_false": there.num_false,
            "false_low": low,
            "false_high": high,
            "num_winners": there.num_winners,
            "num_winners_lost": there.num_winners_lost,
            "other_orders": {
                "num": NUM_ORDERS,
                "saved": other.saved,
                "false_kill_rate": other.false_kill_rate,
                "winners_lost": other.winners_lost,
            },
        }
        print(
            f"{name:<32} saved {there.saved:5.1%}  stopped {there.num_stopped:3d}, {there.num_false} of them wrongly  "
            f"winners lost {there.num_winners_lost} of {there.num_winners}  | other orders: saved {other.saved:.1%}, "
            f"wrongly {other.false_kill_rate or 0:.2%}, winners lost {other.winners_lost:.2%}"
        )
    return found


def forecast_figures(runs: Sequence[PastRun], share: float) -> dict[str, float]:
    """Root mean square errors, nats per token, of forecasts at a share of the training; each trial's own end unseen."""
    of_peers, of_power_law, in_all = [], [], []
    for run in runs:
        gaps = [trial.final - trial.points[-1].loss for trial in run.trials]
        for trial, gap in zip(run.trials, gaps, strict=True):
            curve = [(point.step, point.loss) for point in trial.points if point.step <= share * trial.steps]
            peers = [
                Peer(losses={point.step: point.loss for point in other.points}, final=other.final)
                for other in run.trials
                if other is not trial
            ]
            forecast = predict(curve, trial.steps, peers, 8)
            if forecast is None:
                continue
            of_peers.append(forecast.mean - trial.final)
            # From training to sealed loss by what the others differ in, so that the comparison is fair.
            offset = (sum(gaps) - gap) / (len(gaps) - 1)
            of_power_law.append(power_law_end(curve, trial) + offset - trial.final)
            in_all.append(trial.final)
    return {
        "peers": float(np.sqrt(np.mean(np.square(of_peers)))),
        "power_law": float(np.sqrt(np.mean(np.square(of_power_law)))),
        "spread_of_sealed_losses": float(np.std(in_all)),
    }


def power_law_end(curve: Sequence[tuple[int, float]], trial: PastTrial) -> float:
    """The loss at the last step of c + a step^-b, least squares over a grid of b, on the points after the warm-up."""
    late = [(step, loss) for step, loss in curve if step > WARM_UP * trial.steps]
    steps, losses = np.array([step for step, _ in late], float), np.array([loss for _, loss in late])
    best, end = np.inf, float(losses[-1])
    for power in np.geomspace(0.05, 4, 60):
        basis = np.column_stack([np.ones(len(steps)), steps**-power])
        weights = np.linalg.lstsq(basis, losses, rcond=None)[0]
        error = float(((basis @ weights - losses) ** 2).sum())
        if weights[1] >= 0 and error < best:
            best, end = error, float(weights[0] + weights[1] * trial.steps**-power)
    return end


def main(arguments: list[str]) -> None:
    """Measure, print, write benchmarks/results/early_stopping.json."""
    if arguments:
        write_runs([read_run(path, "explore") for path in arguments], CURVES)
    runs = read_runs(CURVES)
    figures = {
        "curves": {run.name: len(run.trials) for run in runs},
        "ranks": {f"{share:.0%}": rho for share, rho in rank_correlations(runs, TENTHS).items()},
        "forecast_rmse": {f"{share:.0%}": forecast_figures(runs, share) for share in (0.5, 0.7)},
    }
    print("\n".join(f"{name}: {value}" for name, value in figures.items()))
    write_result("early_stopping", figures | {"policies": policy_figures(runs)})


if __name__ == "__main__":
    main(sys.argv[1:])
