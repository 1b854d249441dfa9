"""`python -m orchestrator.export runs/NAME CANDIDATE`: a candidate leaves as a folder that others load and check."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cognition.printable import one_line
from cognition.records import Metric
from models.sandbox.parent import SandboxError
from models.sandbox.settings import REQUIREMENTS, SandboxSettings
from orchestrator.bundle.winner import Winner, winner_of
from orchestrator.bundle.writing import write_bundle
from orchestrator.errors import UsageError
from orchestrator.run_folder import RunFolder

BUNDLES = "bundle"


def main(arguments: list[str]) -> int:
    """Exit codes: 0 written, 2 bad input, 130 interrupted."""
    asked = _parser().parse_args(arguments)
    try:
        folder = RunFolder.existing(asked.run)
        winner = winner_of(folder, asked.candidate, asked.stage, asked.seed)
        out = _place(folder, winner, asked.out)
        print(f"{one_line(winner.candidate.name)}, candidate {winner.candidate.number}, {winner.job.trial_id}")
        if winner.chosen_by:
            print(f"best by {one_line(winner.chosen_by)}")
        sandbox = SandboxSettings(require=asked.require)
        write_bundle(winner, out, sandbox=sandbox, retrain=asked.retrain, on_point=_show)
    except (ValueError, OSError, SandboxError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: nothing was written", file=sys.stderr)
        return 130
    print(f"{out}: README.md says what it is; its code is generated, and trust_remote_code runs it outside of the jail")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m orchestrator.export",
        description="Write a candidate with weights, code for transformers, evidence and reproduce.sh: docs/export.md.",
    )
    parser.add_argument("run", metavar="runs/NAME", help="a campaign's folder, or its URI")
    parser.add_argument("candidate", help="its number, NUMBER.ATTEMPT, id, or `best`")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="default: runs/NAME/bundle/CANDIDATE_ID")
    parser.add_argument("--stage", help="of the trial that is exported; default: the highest that it finished")
    parser.add_argument("--seed", type=int, help="of the trial that is exported; default: the lowest")
    parser.add_argument("--retrain", action="store_true", help="train it again although its weights were kept")
    parser.add_argument("--require", choices=REQUIREMENTS, default="available", help="full: insist on every layer")
    return parser


def _place(folder: RunFolder, winner: Winner, out: Path | None) -> Path:
    if out is not None:
        return out.expanduser().absolute()
    if folder.folder.path is None:
        raise UsageError(f"{folder.place} is in an object store, and bundles are written on this machine: give --out")
    return folder.folder.path.absolute() / BUNDLES / winner.candidate.candidate_id


def _show(point: Metric) -> None:
    print(f"{point.task:<20}{point.step:>8}  loss {point.loss:.4f}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
