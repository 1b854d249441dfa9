"""`python -m models evaluate BUNDLE --tasks local`: lm-evaluation-harness on an exported model."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path

from models.commands.trials import require_device
from models.evaluation.harness import STANDARD_GROUP, Evaluation, evaluate
from models.evaluation.local_tasks import GROUP, STANDARD

FOLDER = "evaluation"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `evaluate`."""
    parser.description = "Run tasks of lm-evaluation-harness on an exported model and write the results beside it."
    parser.add_argument("bundle", metavar="BUNDLE", type=Path, help="a folder of python -m orchestrator.export")
    parser.add_argument(
        "--tasks",
        nargs="+",
        default=[GROUP],
        metavar="NAME",
        help=f"{GROUP}: made here, no network; {STANDARD_GROUP}: {', '.join(STANDARD)}; or the harness's names",
    )
    parser.add_argument(
        "--trust-remote-code",
        action="store_true",
        help="needed: the model's code was generated, and runs with your rights",
    )
    parser.add_argument("--limit", type=int, help="items of each task; for trying it out")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help=f"default: BUNDLE/{FOLDER}/DATE.json")


def run(options: argparse.Namespace) -> int:
    """Evaluate, print, write. Raises ValueError for what the user has to mend."""
    if not options.trust_remote_code:
        raise ValueError(
            f"{options.bundle} holds generated code, which this runs outside of the jail: read its README.md, then add "
            "--trust-remote-code"
        )
    for name in ("limit", "batch_size"):
        if (value := getattr(options, name)) is not None and value < 1:
            raise ValueError(f"--{name.replace('_', '-')} is {value}: use 1 or more")
    require_device(options.device)
    found = evaluate(
        options.bundle, options.tasks, device=options.device, batch_size=options.batch_size, limit=options.limit
    )
    now = time.time()
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
    out = options.out or options.bundle / FOLDER / f"{stamp}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({**asdict(found), "evaluated_at": now}, indent=2) + "\n", encoding="utf-8")
    for line in told(found):
        print(line)
    print(f"written to {out}")
    return 0


def told(found: Evaluation) -> list[str]:
    """A line a figure."""
    lines = []
    for task in found.results:
        figures = found.results[task]
        for name, value in figures.items():
            metric, _, _ = name.partition(",")
            error = figures.get(name.replace(metric, f"{metric}_stderr", 1))
            if isinstance(value, float) and not metric.endswith("_stderr"):
                told_error = f" +- {error:.4f}" if isinstance(error, float) else ""
                lines.append(f"{task:<32}{metric:<18}{value:.4f}{told_error}")
    return lines
