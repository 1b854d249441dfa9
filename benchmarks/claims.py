"""Simulated campaigns through the functions that decide real ones: are discoveries true as often as promised?

    python -m benchmarks.claims                     # 1,000 campaigns a scenario; writes benchmarks/results/claims.json
    python -m benchmarks.claims --campaigns 100     # a tenth of the time; writes its result too

A campaign here is its verification: candidates and baselines with losses of known means, trained on the stage's seeds,
which all share; then more seeds one by one to whom `wants_seed` gives them, and `decide` over all. Differences are in
units of the standard deviation of a paired difference. Beside it, on the same losses: a paired t-test (one-sided, 5%)
on all seeds for everybody with Holm's and with Benjamini and Hochberg's correction; and the t-test after every seed,
uncorrected, that stops when it finds something.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.machine import write_result
from cognition.records import ClaimState
from cognition.statistics import (
    MOST_POOLED,
    RATE,
    Evidence,
    Rival,
    alone,
    benjamini_hochberg,
    decide,
    holm,
    paired_noise,
    power,
    share_interval,
    student_t_cdf,
    student_t_quantile,
    wants_seed,
)

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is verified at a stage, and how."""

    name: str
    num_candidates: int = 24
    num_planted: int = 0  # the first ones beat every baseline, by:
    effect: float = 0.0
    num_baselines: int = 3
    behind: float = 0.0  # by so much all baselines but the first lose to it
    seeds: int = 3
    more_seeds: int = 5
    candidate_noise: float = 1.0  # spread of a candidate's loss over a baseline's
    tails: int | None = None  # degrees of freedom of Student noise; None: normal

    @property
    def most(self) -> int:
        return self.seeds + self.more_seeds


SCENARIOS = (
    Scenario(name="no effect"),
    Scenario(name="no effect, one baseline", num_baselines=1),
    Scenario(name="no effect, 3 candidates, one baseline", num_candidates=3, num_baselines=1),
    Scenario(name="no effect, 100 candidates", num_candidates=100),
    Scenario(name="no effect, candidates twice as noisy", candidate_noise=2.0),
    Scenario(name="no effect, heavy tails", tails=4),
    Scenario(name="no effect, two baselines far behind", behind=10.0),
    Scenario(name="no effect, two far behind, candidates twice as noisy", behind=10.0, candidate_noise=2.0),
    Scenario(name="no effect, two far behind, heavy tails", behind=10.0, tails=4),
    Scenario(name="1 of 24 better by 2", num_planted=1, effect=2.0),
    Scenario(name="1 of 24 better by 4", num_planted=1, effect=4.0),
    Scenario(name="1 of 24 better by 2, two baselines far behind", num_planted=1, effect=2.0, behind=10.0),
    Scenario(name="1 of 24 better by 2, one baseline", num_planted=1, effect=2.0, num_baselines=1),
    Scenario(name="6 of 24 better by 2", num_planted=6, effect=2.0),
    Scenario(name="6 of 24 better by 4", num_planted=6, effect=4.0),
    Scenario(name="1 of 3 better by 4, one baseline", num_candidates=3, num_planted=1, effect=4.0, num_baselines=1),
    Scenario(
        name="1 of 24 better by 3, one baseline, all 8 seeds at once",
        **{"num_planted": 1, "effect": 3.0, "num_baselines": 1, "seeds": 8, "more_seeds": 0},
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one way of deciding called a discovery, in one campaign."""

    num_true: int
    num_false: int
    num_trials: int  # candidates' and baselines' trainings
    ever_false: bool = False  # at some look before the end

    @property
    def share_false(self) -> float:
        return self.num_false / max(1, self.num_true + self.num_false)


def losses_of(scenario: Scenario, rng: np.random.Generator) -> tuple[Array, Array]:
    """Losses of baselines [B, S] and candidates [N, S] on every seed that could be given."""
    shape = scenario.num_baselines + scenario.num_candidates, scenario.most
    noise = rng.standard_t(scenario.tails, shape) if scenario.tails else rng.standard_normal(shape)
    if scenario.tails:
        noise /= math.sqrt(scenario.tails / (scenario.tails - 2))
    noise /= math.sqrt(2)  # of a difference: 1
    noise[scenario.num_baselines :] *= scenario.candidate_noise
    losses = noise + rng.normal(0, 3.0, scenario.most)  # what a seed does to all of them
    losses[1 : scenario.num_baselines] += scenario.behind
    losses[scenario.num_baselines : scenario.num_baselines + scenario.num_planted] -= scenario.effect
    return losses[: scenario.num_baselines], losses[scenario.num_baselines :]


def evidence_of(number: int, own: Array, baselines: Array, scenario: Scenario) -> Evidence:
    """As orchestrator/claiming.py makes it of trials: differences, and the noise of two other baselines."""
    rivals = []
    for place, theirs in enumerate(baselines):
        others = [row[: min(MOST_POOLED + 1, scenario.seeds)] for n, row in enumerate(baselines) if n != place]
        differences = tuple((own - theirs[: len(own)]).tolist())
        rivals.append(Rival(baseline_id=str(place), differences=differences, noise=paired_noise(others[:2])))
    return Evidence(candidate_id=str(number), rivals=tuple(rivals))


def as_we_do(scenario: Scenario, baselines: Array, candidates: Array) -> Found:
    """Seed by seed, with a look at everybody after each round."""
    given = [scenario.seeds] * len(candidates)
    evidence = [evidence_of(n, own[: scenario.seeds], baselines, scenario) for n, own in enumerate(candidates)]
    ever_false = False
    while True:
        found = {
            int(number)
            for number, decision in decide(evidence, num_planned=scenario.num_candidates).items()
            if decision.state is ClaimState.discovery
        }
        ever_false = ever_false or any(number >= scenario.num_planted for number in found)
        wanting = [
            number
            for number, one in enumerate(evidence)
            if wants_seed(one, num_places=scenario.num_candidates, num_left=scenario.most - given[number])
        ]
        if not wanting:
            break
        for number in wanting:
            given[number] += 1
            evidence[number] = evidence_of(number, candidates[number, : given[number]], baselines, scenario)
    num_true = sum(number < scenario.num_planted for number in found)
    return Found(
        num_true=num_true,
        num_false=len(found) - num_true,
        num_trials=sum(given) + len(baselines) * max(given),
        ever_false=ever_false,
    )


def p_values(baselines: Array, candidates: Array) -> Array:
    """Of the one-sided paired t-test against the hardest baseline; shape [N]."""
    gaps = candidates[:, None, :] - baselines[None, :, :]
    num = gaps.shape[-1]
    t = gaps.mean(-1) / (gaps.std(-1, ddof=1) / math.sqrt(num))
    return np.array([student_t_cdf(float(one), num - 1) for one in t.max(axis=1)])


def all_seeds(scenario: Scenario, baselines: Array, candidates: Array, correct: Any) -> Found:
    """Every seed to everybody, one test at the end, corrected."""
    found = correct(p_values(baselines, candidates).tolist(), RATE)
    num_true = sum(number < scenario.num_planted for number in found)
    return Found(
        num_true=num_true,
        num_false=len(found) - num_true,
        num_trials=(len(baselines) + len(candidates)) * scenario.most,
    )


def naive(scenario: Scenario, baselines: Array, candidates: Array) -> Found:
    """A t-test after every seed from the second on, nothing corrected, stopped by what it finds."""
    gaps = candidates[:, None, :] - baselines[None, :, :]
    open_still, spent = np.ones(len(candidates), bool), 0
    found = np.zeros(len(candidates), bool)
    for num in range(2, scenario.most + 1):
        part = gaps[..., :num]
        t = (part.mean(-1) / (part.std(-1, ddof=1) / math.sqrt(num))).max(axis=1)
        now = open_still & (t <= -student_t_quantile(1 - RATE, num - 1))
        found |= now
        spent += int(open_still.sum()) * (2 if num == 2 else 1)
        open_still &= ~now
    num_true = int(found[: scenario.num_planted].sum())
    return Found(
        num_true=num_true,
        num_false=int(found.sum()) - num_true,
        num_trials=spent + len(baselines) * scenario.most,
    )


def summary(scenario: Scenario, found: Sequence[Found]) -> dict[str, Any]:
    """Over campaigns: mean share of false discoveries and chance of any, each with a 95% interval; power; trials."""
    shares = np.array([one.share_false for one in found])
    margin = 1.96 * float(shares.std(ddof=1)) / math.sqrt(len(found))
    num_any = sum(one.num_false > 0 for one in found)
    planted = scenario.num_planted * len(found)
    num_true = sum(one.num_true for one in found)
    return {
        "false_discovery_rate": float(shares.mean()),
        "false_discovery_margin": margin,
        "campaigns_with_a_false_one": num_any / len(found),
        "campaigns_with_a_false_one_interval": share_interval(num_any, len(found)),
        "ever_false": sum(one.ever_false for one in found) / len(found),
        "power": num_true / planted if planted else None,
        "power_interval": share_interval(num_true, planted) if planted else None,
        "trials": float(np.mean([one.num_trials for one in found])),
    }


def simulate(scenario: Scenario, num_campaigns: int, seed: int = 0) -> dict[str, Any]:
    """Every way of deciding on the same campaigns."""
    rng = np.random.default_rng([seed, *scenario.name.encode()])
    found: dict[str, list[Found]] = {name: [] for name in ("ours", "Holm", "Benjamini-Hochberg", "naive")}
    for _ in range(num_campaigns):
        baselines, candidates = losses_of(scenario, rng)
        found["ours"].append(as_we_do(scenario, baselines, candidates))
        found["Holm"].append(all_seeds(scenario, baselines, candidates, holm))
        found["Benjamini-Hochberg"].append(all_seeds(scenario, baselines, candidates, benjamini_hochberg))
        found["naive"].append(naive(scenario, baselines, candidates))
    return {
        "scenario": asdict(scenario),
        "computed_power": computed_power(scenario) if scenario.num_planted else None,
        **{name: summary(scenario, campaigns) for name, campaigns in found.items()},
    }


def computed_power(scenario: Scenario) -> float:
    """The chance that all seeds of a planted candidate reach the bound of a first discovery, against one baseline."""
    lent = min(MOST_POOLED, scenario.seeds - 1) if scenario.num_baselines > 2 else 0
    bound = max(alone(), scenario.num_candidates / RATE)
    return power(scenario.effect, 1.0, scenario.most, bound, prior_dof=lent)


def told(name: str, figures: Mapping[str, Any]) -> str:
    """One line of the table."""
    low, high = figures["campaigns_with_a_false_one_interval"]
    found = f"{figures['power']:6.1%}" if figures["power"] is not None else "     -"
    return (
        f"  {name:<20} false {figures['false_discovery_rate']:6.2%} +- {figures['false_discovery_margin']:.2%}, any in "
        f"{figures['campaigns_with_a_false_one']:6.1%} [{low:.1%}, {high:.1%}]  found {found}  "
        f"trials {figures['trials']:6.1f}"
    )


def main(arguments: list[str]) -> None:
    """Simulate, print, write benchmarks/results/claims.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--campaigns", type=int, default=1000)
    options = parser.parse_args(arguments)
    if options.campaigns < 2:
        parser.error(f"--campaigns is {options.campaigns}: give 2 or more")
    results = []
    for scenario in SCENARIOS:
        began = time.perf_counter()
        figures = simulate(scenario, options.campaigns)
        computed = figures["computed_power"]
        more = f", {computed:.1%} computed for all seeds against one baseline" if computed is not None else ""
        print(f"{scenario.name} ({time.perf_counter() - began:.0f} s{more})")
        for name in ("ours", "Holm", "Benjamini-Hochberg", "naive"):
            print(told(name, figures[name]))
        sys.stdout.flush()
        results.append(figures)
    write_result("claims", {"campaigns": options.campaigns, "rate": RATE, "scenarios": results})


if __name__ == "__main__":
    main(sys.argv[1:])
