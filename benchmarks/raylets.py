"""Nodes that go in the midst of a campaign: `python -m benchmarks.raylets [NUM_CANDIDATES]`.

Twelve raylets of one slot each on this machine, and a head that has none. The same campaign of about 200 short trials
twice: undisturbed, and with two raylets, drawn at random, killed with all that runs on them when a quarter and a half
of the candidates' number of trials are in. It is deterministic, so that both have to end with the same rows: none
lost, none twice, each trial charged once beside the attempts that were lost. Where the campaign's ledger was on a node
that went, the campaign ends with the exit code for that, and the same command goes on: the clock counts all starts.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.machine import write_result
from cognition.reader import NoLineage, Reader
from cognition.records import Charge, ChargeOutcome, Event, Trial

ROOT = Path(__file__).resolve().parents[1]
NUM_RAYLETS, NUM_KILLED, NUM_CANDIDATES = 12, 2, 190
_OBJECT_STORE_BYTES = 100_000_000
_MOST_STARTS = 4
_STEPS = 250  # a few seconds of training, so that it and not the examinations set the pace, and slots are held
_WAIT_S = 3600.0
_SEED = 0


def command(folder: Path, address: str, num_candidates: int) -> list[str]:
    """The campaign's command line; no deadline and no anomaly of time may tell the two campaigns apart."""
    return [
        *(sys.executable, "-m", "orchestrator", "+campaign=linear_attn", "scale=tiny", "tracking=none"),
        *(f"run.root={folder.parent}", f"run.name={folder.name}", f"cluster.address={address}"),
        *(f"budget.candidates={num_candidates}", "deterministic=true", f"flow.look_ahead={2 * NUM_RAYLETS}"),
        *("stages.verify.best=2", "stages.explore.stopping.policy=none", "data.max_bytes=1500000"),
        *(f"scale.stages.explore.steps={_STEPS}", f"scale.stages.verify.steps={_STEPS}"),
        *("scale.stages.explore.deadline_s=600", "scale.stages.verify.deadline_s=600", "flow.gate_deadline_s=600"),
        *("anomalies.slow_factor=null", "anomalies.silent_floor_s=300"),
    ]


def trials_in(folder: Path) -> list[Trial]:
    """Those that are in the store."""
    try:
        return Reader(folder).rows(Trial)
    except NoLineage:
        return []


def run(folder: Path, num_candidates: int, kill_at: Sequence[int]) -> dict[str, Any]:
    """One campaign on a cluster of its own; a raylet goes when so many trials are in.

    Raises:
        RuntimeError: it does not come to its end.
    """
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    raylets = [made.add_node(num_cpus=1, object_store_memory=_OBJECT_STORE_BYTES) for _ in range(NUM_RAYLETS)]
    rng, left, killed, starts = random.Random(_SEED), sorted(kill_at), 0, 0
    began = time.monotonic()
    log = folder.parent / f"{folder.name}.log"
    try:
        while starts < _MOST_STARTS:
            starts += 1
            with log.open("a") as out:
                driver = subprocess.Popen(
                    command(folder, made.address, num_candidates), cwd=ROOT, stdout=out, stderr=subprocess.STDOUT
                )
            while driver.poll() is None:
                time.sleep(0.5)
                if left and len(trials_in(folder)) >= left[0]:
                    left.pop(0)
                    made.remove_node(raylets.pop(rng.randrange(len(raylets))), allow_graceful=False)
                    killed += 1
                if time.monotonic() - began > _WAIT_S:
                    driver.kill()
                    raise RuntimeError(f"it did not end within {_WAIT_S:.0f} s: {log}")
            if driver.returncode == 0:
                break
            if driver.returncode != os.EX_TEMPFAIL:
                raise RuntimeError(f"exit code {driver.returncode}: {log}")
        else:
            raise RuntimeError(f"not over after {starts} starts: {log}")
    finally:
        made.shutdown()  # type: ignore[no-untyped-call]
    return {"seconds": time.monotonic() - began, "starts": starts, "raylets_killed": killed, **counted(folder)}


def counted(folder: Path) -> dict[str, Any]:
    """Trials, how many are there twice, and what was charged for them."""
    reader = Reader(folder)
    trials, charges = reader.rows(Trial), reader.rows(Charge)
    of_each = Counter(charge.trial_id for charge in charges if charge.outcome is not ChargeOutcome.lost)
    return {
        "trials": len(trials),
        "twice": len(trials) - len({trial.trial_id for trial in trials}),
        "finished": sum(trial.succeeded for trial in trials),
        "charges": dict(Counter(charge.outcome.value for charge in charges)),
        "not_charged_once": sum(of_each[trial.trial_id] != 1 for trial in trials),
        "slot_s": sum(charge.slot_s for charge in charges),
        "over": any(event.kind == "campaign_finished" for event in reader.rows(Event)),
    }


def results(folder: Path) -> list[tuple[str, str, float | None]]:
    """What the campaign came to, whenever and wherever each trial ran."""
    return sorted((trial.trial_id, trial.status.value, trial.loss) for trial in Reader(folder).rows(Trial))


def main(arguments: list[str]) -> int:
    """Measure, print, write benchmarks/results/raylets.json; 1 where a trial was lost, done twice or is another one."""
    num = int(arguments[0]) if arguments else NUM_CANDIDATES
    root = Path(tempfile.mkdtemp(prefix="raylets-"))
    figures = {}
    for name, kill_at in (("undisturbed", ()), ("with_two_killed", (num // 4, num // 2))):
        figures[name] = run(root / name, num, kill_at)
        print(f"{name:<16} {figures[name]}", flush=True)
    same = results(root / "undisturbed") == results(root / "with_two_killed")
    slower = figures["with_two_killed"]["seconds"] / figures["undisturbed"]["seconds"]
    print(f"the same trials with the same losses: {'yes' if same else 'no'}; {slower:.2f} times the clock")
    write_result("raylets", {**figures, "same_results": same, "slower": slower, "num_raylets": NUM_RAYLETS})
    whole = all(one["over"] and not one["twice"] and not one["not_charged_once"] for one in figures.values())
    return 0 if same and whole else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
