"""How much of the slots' time a campaign trains: `python benchmarks/occupancy.py [runs/NAME]`.

Without a folder it runs the default campaign (24 candidates, scale cpu) in a temporary one. Slot time is the number of
slots times the span from the first slot taken to the last one given back. Training is from the first to the last
training step of each trial, probes included; what remains is waiting for work, starting children, sealed evaluation
and the tail in which only one slot has something left to do.
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
from cognition.records import Event, Trial


def shares(trials: Sequence[Trial], num_slots: int) -> dict[str, float]:
    """Shares of the slots' time, 0..1, and the span in seconds."""
    span = max(t.finished_at for t in trials) - min(t.started_at for t in trials)
    slot_time = num_slots * span
    trained, held = sum(t.train_s for t in trials), sum(t.slot_s for t in trials)
    return {"span_s": span, "held": held / slot_time, "training": trained / slot_time, "not": 1 - trained / slot_time}


def figures_of(folder: Path, num_slots: int) -> dict[str, Any]:
    """Shares of the whole campaign and of its exploration, and when the first trial started."""
    reader = Reader(folder)
    trials, events = reader.rows(Trial), reader.rows(Event)
    explore = [trial for trial in trials if trial.stage == "explore"]
    began = min(event.created_at for event in events)
    return {
        "num_trials": len(trials),
        "campaign": shares(trials, num_slots),
        "exploration": shares(explore, num_slots),
        "first_slot_taken_s": min(t.started_at for t in trials) - began,
        "first_step_s": min(t.first_step_at for t in trials) - began,
    }


def main(arguments: list[str]) -> None:
    """Measure, print, write benchmarks/results/occupancy.json."""
    if arguments:
        folder, num_slots = Path(arguments[0]), 2
        figures = figures_of(folder, num_slots)
    else:
        from orchestrator.campaign import Campaign

        with tempfile.TemporaryDirectory() as root:
            campaign = Campaign.compose("+campaign=linear_attn", "scale=cpu", f"run.root={root}", "cluster.slots=2")
            result = campaign.run()
            figures = figures_of(result.folder, 2)
    for name in ("campaign", "exploration"):
        share = figures[name]
        print(
            f"{name:<12} {share['span_s']:6.1f} s  slots held {share['held']:.1%}  training {share['training']:.1%}  "
            f"not training {share['not']:.1%} (goal: at most 15%)"
        )
    print(
        f"first slot taken {figures['first_slot_taken_s']:.1f} s, first step {figures['first_step_s']:.1f} s after Ray"
    )
    write_result("occupancy", figures)


if __name__ == "__main__":
    main(sys.argv[1:])
