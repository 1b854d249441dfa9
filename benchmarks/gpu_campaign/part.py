"""One part as a process, which benchmarks/gpu_campaign/plan.py starts: `python -m benchmarks.gpu_campaign.part -h`."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from benchmarks.gpu_campaign import PARTS
from benchmarks.gpu_campaign.plan import outcome_of
from benchmarks.gpu_campaign.work import Work, carry_out

_MODULES = {"compile": "compiling"}  # a module cannot be named like a builtin


def main(arguments: list[str] | None = None) -> int:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--device", choices=("cuda", "cpu"), required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args(arguments)
    earlier = outcome_of(options.out, options.part, options.name)
    told = Work(**vars(options), figures=dict(earlier.figures) if earlier is not None else {})
    module = importlib.import_module(f"benchmarks.gpu_campaign.{_MODULES.get(options.part, options.part)}")
    return carry_out(module.measure, told)


if __name__ == "__main__":
    sys.exit(main())
