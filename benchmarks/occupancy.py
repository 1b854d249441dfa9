"""How busy a campaign keeps its slots, and what that gains: `python benchmarks/occupancy.py [runs/NAME]`.

Without a folder it runs a campaign of 40 candidates at scale cpu on two slots, and then the same campaign strictly one
after another, as the original did: one slot, one candidate in flight, verification when exploration has ended. With a
folder it tells of that one alone.

Slot time is the number of slots times the span from the first slot taken to the last one given back. A slot is held
from when a host takes a trial until the trial has ended, sealed evaluation included; it trains from the first to the
last training step, canary and probes included. Candidates per hour are explored candidates over the campaign's clock,
Ray's start included.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.machine import write_result
from cognition.reader import Reader
from cognition.records import Candidate, Charge, Event, Trial

NUM_CANDIDATES = 40
ONE_AFTER_ANOTHER = ("cluster.slots=1", "flow.look_ahead=1", "stages.verify.after=1")


def shares(trials: Sequence[Trial], charges: Sequence[Charge], num_slots: int) -> dict[str, float]:
    """Shares of the slots' time, 0..1, and the span in seconds."""
    span_s = max(c.finished_at for c in charges) - min(c.started_at for c in charges)
    slot_time_s = num_slots * span_s
    held_s, trained_s = sum(c.slot_s for c in charges), sum(t.train_s for t in trials)
    return {"span_s": span_s, "held": held_s / slot_time_s, "training": trained_s / slot_time_s}


def figures_of(folder: Path, num_slots: int) -> dict[str, Any]:
    """Shares of the whole campaign and of its exploration, when the first trial started, and how stages overlap."""
    reader = Reader(folder)
    trials, charges, events = reader.rows(Trial), reader.rows(Charge), reader.rows(Event)
    began, ended = min(e.created_at for e in events), max(e.created_at for e in events)
    explore = [charge for charge in charges if charge.stage == "explore"]
    explored = {charge.number for charge in explore} - {c.number for c in reader.rows(Candidate) if c.arm == "baseline"}
    above = [charge for charge in charges if charge.stage != "explore"]
    overlap_s = max(c.finished_at for c in explore) - min((c.started_at for c in above), default=ended)
    return {
        "num_trials": len(trials),
        "campaign": shares(trials, charges, num_slots),
        "exploration": shares([t for t in trials if t.stage == "explore"], explore, num_slots),
        "first_slot_taken_s": min(charge.started_at for charge in charges) - began,
        "num_explored": len(explored),
        "clock_s": ended - began,
        "candidates_per_hour": len(explored) / (ended - began) * 3600,
        "overlap_of_stages_s": max(0.0, overlap_s),
    }


def campaign(name: str, *overrides: str) -> tuple[Path, int]:
    """Run it in a temporary folder that stays until the interpreter ends."""
    from orchestrator.campaign import Campaign

    root = tempfile.mkdtemp(prefix="occupancy-")
    made = Campaign.compose(
        *("+campaign=linear_attn", "scale=cpu", f"budget.candidates={NUM_CANDIDATES}", "tracking=none"),
        *(f"run.root={root}", f"run.name={name}", *overrides),
    )
    result = made.run()
    assert result.stopped_by is None, result.stopped_by
    assert made.cluster is not None
    return result.folder, made.cluster.num_slots


def told(name: str, figures: dict[str, Any]) -> None:
    """Print one campaign's figures."""
    for part in ("campaign", "exploration"):
        share = figures[part]
        print(f"{name} {part:<12} {share['span_s']:6.1f} s  held {share['held']:.1%}  training {share['training']:.1%}")
    print(
        f"{name} {figures['candidates_per_hour']:.0f} candidates an hour; first slot taken after "
        f"{figures['first_slot_taken_s']:.1f} s; exploration and higher stages overlap for "
        f"{figures['overlap_of_stages_s']:.0f} s"
    )


def main(arguments: list[str]) -> None:
    """Measure, print, write benchmarks/results/occupancy.json."""
    if arguments:
        told("", figures_of(Path(arguments[0]), 2))
        return
    together = figures_of(*campaign("together", "cluster.slots=2"))
    told("together   ", together)
    single = figures_of(*campaign("single", *ONE_AFTER_ANOTHER))
    told("one by one ", single)
    ratio = together["candidates_per_hour"] / single["candidates_per_hour"]
    print(f"slots held {together['campaign']['held']:.1%} (goal: at least 92%); {ratio:.2f} times as many candidates")
    write_result("occupancy", {"together": together, "one_after_another": single, "candidates_per_hour_ratio": ratio})


if __name__ == "__main__":
    main(sys.argv[1:])
