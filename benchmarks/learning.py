"""Does the grammar learn? Learned against frozen mutation weights, at equal trials, on real training.

`python benchmarks/learning.py [--seeds 3] [--candidates 24]` runs one campaign per seed and setting: the exploration of
scale `cpu` with half the steps and no probe, no verification, grammar arm alone. It prints, for each setting, the best
validation loss and the mean over the second half of the candidates, and the paired difference over seeds with its
interval, whichever way it comes out.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from pathlib import Path
from statistics import fmean

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.machine import write_result
from cognition.statistics import paired_difference

STAGE = "scale.stages.explore"
SHORT = (
    "+campaign=linear_attn",
    "scale=cpu",
    "arms=grammar",
    "tracking=none",
    "stages.verify.best=0",
    "cluster.slots=2",
    f"{STAGE}.steps=56",
    f"{STAGE}.warmup_steps=8",
    f"{STAGE}.eval_windows=192",
    f"{STAGE}.probes={{}}",
)


def losses(root: str, seed: int, *, frozen: bool, candidates: int) -> list[float]:
    """Validation losses of the proposed candidates, by number."""
    from orchestrator.campaign import Campaign

    campaign = Campaign.compose(
        *SHORT,
        f"run.root={root}",
        f"run.name={'frozen' if frozen else 'learned'}-{seed}",
        f"seed={seed}",
        f"budget.candidates={candidates}",
        f"grammar.learning.frozen={str(frozen).lower()}",
    )
    members = campaign.run().members
    return [
        m.verdict.loss for m in members if m.candidate.arm == "grammar" and m.verdict and m.verdict.loss is not None
    ]


def main() -> None:
    """Run, print, write benchmarks/results/learning.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--candidates", type=int, default=24)
    options = parser.parse_args()
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    best: dict[bool, list[float]] = {False: [], True: []}
    late: dict[bool, list[float]] = {False: [], True: []}
    with tempfile.TemporaryDirectory() as root:
        for seed in range(options.seeds):
            for frozen in (False, True):
                found = losses(root, seed, frozen=frozen, candidates=options.candidates)
                best[frozen].append(min(found))
                late[frozen].append(fmean(found[len(found) // 2 :]))
                name = "frozen" if frozen else "learned"
                print(
                    f"seed {seed} {name:<8} {len(found)} trained  best {min(found):.4f}  "
                    f"mean of the second half {late[frozen][-1]:.4f}",
                    flush=True,
                )
    ray.shutdown()
    figures: dict[str, object] = {"seeds": options.seeds, "candidates": options.candidates}
    for name, by in (("best", best), ("second_half", late)):
        paired = paired_difference(by[False], by[True])
        interval = f"[{paired.low:+.4f}, {paired.high:+.4f}]" if paired.low is not None else "(one seed: no interval)"
        print(f"{name:<12} learned - frozen {paired.mean:+.4f} {interval} nats per token; negative: learning helps")
        figures[name] = {
            "learned": by[False],
            "frozen": by[True],
            "difference": paired.mean,
            "interval": [paired.low, paired.high],
        }
    write_result("learning", figures)


if __name__ == "__main__":
    main()
