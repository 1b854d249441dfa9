"""`python -m orchestrator.simulate --gpus 10000 --candidates 100000`: what a campaign of that size would come to.

The loop, its queues, policies, selection, promotion and books are the real ones and run in this process, on a clock
that jumps; designs, trainings, the disk and Ray are replaced by what they were measured to take (docs/simulation.md).
Whatever follows the options is configuration, as on the command line of a campaign: `budget.gpu_hours=100`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence

from orchestrator.errors import UsageError
from orchestrator.simulation.campaign import Wish, simulate
from orchestrator.simulation.costs import Costs
from orchestrator.simulation.figures import in_words


def main(arguments: Sequence[str]) -> int:
    """Exit codes: 0 shown, 2 bad input."""
    options = _parser().parse_args(arguments)
    given = {
        name: value
        for name in ("engine_s", "engine_growth_s", "propose_s", "proposals_at_once")
        if (value := getattr(options, name)) is not None
    }
    try:
        figures = simulate(
            Wish(
                gpus=options.gpus,
                candidates=options.candidates,
                trial_s=options.trial_s,
                engines=options.engines,
                seed=options.seed,
                overrides=tuple(options.overrides),
                costs=Costs(**given),
            )
        )
    except (UsageError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(dataclasses.asdict(figures) | {"growth": figures.growth}, indent=1))
    else:
        print(in_words(figures))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m orchestrator.simulate", description="A campaign on GPUs that are not there."
    )
    parser.add_argument("--gpus", type=int, default=10_000)
    parser.add_argument("--candidates", type=int, default=100_000)
    parser.add_argument("--trial-s", type=float, default=900.0, help="seconds of an exploration trial, in the middle")
    parser.add_argument("--engines", type=int, help="trial engines; as many as it takes unless given")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine-s", type=float, help="seconds that an engine takes for a trial")
    parser.add_argument("--engine-growth-s", type=float, help="... and more for each earlier trial of that engine")
    parser.add_argument("--propose-s", type=float, help="seconds that a proposal takes")
    parser.add_argument("--proposals-at-once", type=int, help="proposals that are written at the same time")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="configuration of the campaign")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
