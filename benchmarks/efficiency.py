"""What baselines cost in their host: speed, memory and state at scale `cpu`, each in turn with the reference.

    python benchmarks/efficiency.py [NAME ...]

The same measuring as in campaigns (models.efficiency): jailed children, the parent's clock.
"""

from __future__ import annotations

import sys
from dataclasses import asdict

from benchmarks.machine import write_result
from models.data import DataSpec
from models.efficiency.run import EfficiencyRun
from models.efficiency.settings import EfficiencySettings
from models.sandbox.parent import ForkServer
from models.scale import load_scale
from models.slots import TOKEN_MIXER, published_source, slot_named
from models.trial_job import TrialJob

SCALE = "cpu"
SETTINGS = EfficiencySettings(lengths=(128, 512, 2048))


def main(names: list[str]) -> int:
    """Measure the ceiling and the baselines, or those named."""
    slot, stage = slot_named(TOKEN_MIXER), load_scale(SCALE).stages[-1]
    found = {}
    heads = "".join(f"{head:>12}" for head in ("train tok/s", "prefill ms", "decode ms", "state", "peak MB"))
    print(f"{'mixer':<24}{'T':>6}{heads}  ratios")
    with ForkServer() as server:
        for name in names or (*slot.ceilings, *slot.baselines):
            job = TrialJob(
                trial_id=name,
                candidate_id=name,
                source=published_source(TOKEN_MIXER, name),
                slot=TOKEN_MIXER,
                stage=stage,
                seed=0,
                data=DataSpec(),
                efficiency=SETTINGS,
            )
            run = EfficiencyRun(job, server)
            run.advance()
            found[name] = [asdict(row) for row in run.rows]
            for row in run.rows:
                if row.train_tokens_s is None or row.prefill_s is None or row.decode_s is None:
                    print(f"{name:<24}{row.length:>6}  {row.detail}")
                    continue
                ratios = (row.train_ratio, row.prefill_ratio, row.decode_ratio)
                said = " / ".join("-" if ratio is None else f"{ratio:.2f}" for ratio in ratios)
                print(
                    f"{name:<24}{row.length:>6}{row.train_tokens_s:>12,.0f}{row.prefill_s * 1e3:>12.2f}"
                    f"{row.decode_s * 1e3:>12.3f}{row.state_bytes or 0:>12,}{(row.train_peak_bytes or 0) / 1e6:>12.1f}"
                    f"  {said}",
                    flush=True,
                )
    write_result("efficiency", {"scale": SCALE, "stage": stage.name, "reference": slot.reference, "rows": found})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
