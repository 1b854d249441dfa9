"""`python -m orchestrator.status runs/NAME` (or s3://BUCKET/runs/NAME): how a campaign stands, without touching it."""

from __future__ import annotations

import sys
import time

from rich.console import Console

from cognition.reader import Reader
from cognition.records import Charge, Claim, Event, NoiseLevel, RankCorrelation, Trial
from orchestrator.burn import Plan, burn_of
from orchestrator.charges import last_sign
from orchestrator.errors import UsageError
from orchestrator.population import Population
from orchestrator.prediction import correlation_line, latest
from orchestrator.rows import FINISHED, RESUMED, STARTED
from orchestrator.run_folder import RunFolder
from orchestrator.shown_claims import Named, claim_line, noise_line, standing


def main(arguments: list[str]) -> int:
    """Exit codes: 0 shown, 2 bad input."""
    console = Console(highlight=False, soft_wrap=True)
    try:
        if len(arguments) != 1:
            raise UsageError(f"{len(arguments)} arguments given: use python -m orchestrator.status runs/NAME")
        folder = RunFolder.existing(arguments[0])
        holder = folder.holder(time.time())
        reader = Reader(folder.folder)
        funnel = reader.query("SELECT * FROM funnel")
        best = reader.query("SELECT number, name, arm, fitness, loss FROM leaderboard LIMIT 5")
        correlations = latest(reader.rows(RankCorrelation))
        kinds = (Trial, Charge, Event, Claim, NoiseLevel)
        population = Population(row for kind in kinds for row in reader.rows(kind))
        found = reader.query(
            "SELECT candidate_id, number, name FROM candidates "
            "WHERE candidate_id IN (SELECT candidate_id FROM verified)"
        )
        names = {str(key): Named(number=int(number), name=str(name)) for key, number, name in found.rows}
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    verified = population.verified
    ends = [event for event in population.events if event.kind.startswith("campaign_")]
    if holder is not None:
        state = (
            f"running, driven by process {holder.pid} on {holder.host} for {max(0.0, time.time() - holder.since):.0f} s"
        )
    elif ends and ends[-1].kind == FINISHED:
        state = "finished"
    else:
        state = "not running; the same command goes on"
    console.print(f"{folder.place}: {state}", markup=False)
    plan = Plan.written(population.events)
    if plan is not None:
        since = max((event.created_at for event in ends if event.kind in (STARTED, RESUMED)), default=0.0)
        now = time.time() if holder is not None else last_sign(population, beat=0.0)
        console.print(f"spent {burn_of(plan, population, since, now)}", markup=False)
    for row in funnel.rows:
        console.print("  " + "  ".join(str(value) for value in row), markup=False)
    console.print("best so far", markup=False)
    for row in best.rows:
        console.print("  " + "  ".join(_cell(value) for value in row), markup=False)
    for level in verified.noise.values():
        if level.metric == "loss":
            console.print(f"noise  {noise_line(level)}", markup=False)
    for claim in standing(verified.claims.values()):
        console.print(f"claim  {claim_line(claim, names)}", markup=False)
    for correlation in correlations:
        console.print(f"ranks  {correlation_line(correlation)}", markup=False)
    return 0


def _cell(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
