"""A campaign on 100, 1,000 and 10,000 GPUs that are not there, and what a proposal of the grammar takes.

    python -m benchmarks.simulation                       # an hour; writes benchmarks/results/simulation.json
    python -m benchmarks.simulation --sizes 100:1000      # GPUs:candidates, as many as wanted

Trials take 15 minutes in the middle; each size is a process of its own, whose peak memory is its own. Figures of the
virtual clock are the same on every machine; processor time and memory are this one's. See docs/simulation.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from agents.brief import Brief, Member
from agents.grammar.proposer import GrammarProposer
from benchmarks.machine import RESULTS, write_result

ROOT = Path(__file__).resolve().parents[1]
SIZES = ("100:2000", "1000:10000", "10000:100000")
GOAL = 0.97
NUM_PROPOSALS = 100


def propose_s() -> float:
    """Processor seconds of a proposal: each mutates what the one before wrote."""
    proposer, parents = GrammarProposer(), ()
    since = time.process_time()
    for number in range(NUM_PROPOSALS):
        brief = Brief(slot="token_mixer", arm="grammar", number=number, seed=0, parents=parents)
        parents = (Member(candidate=asyncio.run(proposer.propose(brief))),)
    return (time.process_time() - since) / NUM_PROPOSALS


def figures_of(gpus: int, candidates: int) -> dict[str, Any]:
    """The figures of one size."""
    command = [sys.executable, "-m", "orchestrator.simulate", "--json"]
    found = subprocess.run(
        [*command, "--gpus", str(gpus), "--candidates", str(candidates)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    figures: dict[str, Any] = json.loads(found.stdout)
    return figures


def side_by_side(found: Sequence[dict[str, Any]]) -> str:
    """A row for each figure, a column for each size."""
    rows = {
        "GPUs": [f"{one['gpus']:,}" for one in found],
        "candidates": [f"{one['candidates']:,}" for one in found],
        "GPUs used": [f"{one['utilisation']:.1%}" for one in found],
        "with the last trials": [f"{one['utilisation_to_the_end']:.1%}" for one in found],
        "candidates a second": [f"{one['candidates_per_s']:.2f}" for one in found],
        "engines": [str(len(one["engines"])) for one in found],
        "busiest engine": [f"{max(engine['busy'] for engine in one['engines']):.0%}" for one in found],
        "commits a second": [f"{one['commits_per_s']:.1f}" for one in found],
        "rows a commit": [f"{one['rows_per_commit']:.0f}" for one in found],
        "store, kB a second": [f"{one['store_bytes_per_s'] / 1000:,.0f}" for one in found],
        "driver, ms a candidate": [f"{one['driver_s'] * 1000:.2f}" for one in found],
        "first tenth in the midst, last": [
            f"{one['driver_first_s'] * 1000:.2f}, {one['driver_last_s'] * 1000:.2f}" for one in found
        ],
        "driver busy": [f"{one['loads']['driver']:.0%}" for one in found],
        "memory, MB": [f"{one['memory_bytes'] / 1e6:,.0f}" for one in found],
    }
    width = max(map(len, rows))
    lines = [f"{name:<{width}}  " + "  ".join(f"{cell:>14}" for cell in cells) for name, cells in rows.items()]
    return "\n".join([*lines, *(f"{one['gpus']:,} GPUs: {one['bottleneck']}" for one in found)])


def main(arguments: Sequence[str]) -> None:
    """Measure, print, write; what is done is written at once."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="GPUS:CANDIDATES")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    proposal_s, found = propose_s(), list[dict[str, Any]]()
    print(f"a proposal takes {proposal_s * 1000:.1f} ms", flush=True)
    for size in options.sizes:
        gpus, candidates = map(int, size.split(":"))
        found.append(figures_of(gpus, candidates))
        met = "met" if found[-1]["utilisation"] >= GOAL else "missed"
        print(f"{gpus:,} GPUs used for {found[-1]['utilisation']:.1%} (goal {GOAL:.0%}: {met})", flush=True)
        write_result("simulation", {"propose_s": proposal_s, "goal": GOAL, "sizes": found}, options.results)
    print(side_by_side(found))


if __name__ == "__main__":
    main(sys.argv[1:])
