"""`python -m models reproduce BUNDLE`: the exported trial again, and whether its figures come out; its reproduce.sh."""

from __future__ import annotations

import argparse
from pathlib import Path

from cognition.records import Metric
from models.commands.trials import require_backend, require_device
from models.export.again import Comparison, compared, owes_bits, read_record, require_corpus, train_again
from models.sandbox.settings import REQUIREMENTS, SandboxSettings

AGREES, DIFFERS = 0, 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `reproduce`."""
    parser.description = (
        "Train an exported candidate again, jailed, at its stage and seed, and compare the sealed figures and the "
        "weights. Exit code 0: they agree, 1: they do not, 2: usage."
    )
    parser.add_argument("bundle", metavar="BUNDLE", type=Path, help="a folder of python -m orchestrator.export")
    parser.add_argument("--source", metavar="PATH", help="where the text lies here, if elsewhere than it did")
    parser.add_argument("--require", choices=REQUIREMENTS, default="available", help="full: insist on every layer")


def run(options: argparse.Namespace) -> int:
    """Train and compare. Raises ValueError and SandboxError for what the user has to mend."""
    require_backend()
    recorded = read_record(options.bundle, options.source)
    job = recorded.job
    require_device("cpu" if job.device == "cpu" else "cuda")
    require_corpus(recorded)
    stage = job.stage
    print(f"{job.trial_id}: {stage.steps} steps of {stage.batch_size} x {stage.length} tokens on {job.device}")
    if not owes_bits(recorded):
        reason = "another machine, or other versions" if job.device == "cpu" else "trained on a GPU"
        print(f"{reason}: figures may differ by their tolerance")

    def show(point: Metric) -> None:
        print(f"{point.task:<20}{point.step:>8}  loss {point.loss:.4f}", flush=True)

    again = train_again(job, SandboxSettings(require=options.require), show)
    if not again.trial.succeeded:
        print(f"{again.trial.failure or again.trial.status}: {again.trial.detail}")
        return DIFFERS
    comparison = compared(recorded, again)
    for line in told(comparison):
        print(line)
    return AGREES if comparison.agrees else DIFFERS


def told(comparison: Comparison) -> list[str]:
    """Then and now, in lines."""
    lines = [f"{'figure':<28}{'recorded':>20}{'now':>20}{'tolerance':>12}"]
    for figure in comparison.figures:
        allowed = "to the bit" if comparison.bits_owed else f"{figure.tolerance:g}"
        lines.append(f"{figure.name:<28}{figure.then:>20.12g}{figure.now:>20.12g}{allowed:>12}")
    lines.append(f"weights {'equal' if comparison.same_weights else 'differ'}")
    equal = "bit-equal" if comparison.is_equal else "agrees within tolerance" if comparison.agrees else "DIFFERS"
    lines.append(equal)
    return lines
