"""`python -m orchestrator.attribution runs/X [CANDIDATE] [key=value ...]`: which parts of a design matter.

The design is trained again beside one variant for each of its parts, on the same seeds and held-out data, and then
without everything that was not needed. What is found goes into the campaign's lineage (`ablations`). The same command
goes on after an interruption, and asks for nothing twice. docs/attribution.md.
"""

from __future__ import annotations

import argparse
import os
import sys

from agents.parts import NothingToTakeApart
from orchestrator.afterwards import append
from orchestrator.attribution.comparison import attribute
from orchestrator.attribution.question import question_of
from orchestrator.attribution.shown import show
from orchestrator.errors import Fault, UsageError
from orchestrator.terminal import terminal_console


def main(arguments: list[str]) -> int:
    """Exit codes: 0 done, 1 stopped before the end (the same command goes on), 2 bad input, 75 a fault, 130 Ctrl-C."""
    asked = _parser().parse_intermixed_args(arguments)
    named = [word for word in asked.words if "=" not in word]
    try:
        if len(named) > 1:
            raise UsageError(f"{', '.join(named)} are named: give one candidate")
        question = question_of(
            asked.run,
            named[0] if named else None,
            stage=asked.stage,
            num_seeds=asked.seeds,
            tolerance=asked.tolerance,
            out=asked.out,
            overrides=[word for word in asked.words if "=" in word],
        )
        found = attribute(question)
        if found is None:
            return 1
        append(question.folder, found)
    except (UsageError, NothingToTakeApart, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return os.EX_TEMPFAIL if isinstance(error, Fault) else 2
    except KeyboardInterrupt:
        return 130
    show(terminal_console(), question.design.candidate, found)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m orchestrator.attribution",
        description="Train a design again without each of its parts, and without all that it does not need.",
    )
    parser.add_argument("run", metavar="runs/NAME", help="a campaign's folder")
    parser.add_argument(
        "words",
        nargs="*",
        metavar="CANDIDATE, key=value",
        help="a number or id, the one with the best claim unless given; settings of the trainings, as budget.wall=2h",
    )
    parser.add_argument("--stage", help="where it is measured (the highest)")
    parser.add_argument("--seeds", type=int, help="seeds of each variant (the stage's own)")
    parser.add_argument(
        "--tolerance", type=float, help="nats per token that a part not needed may be worth (a quarter of the gain)"
    )
    parser.add_argument("--out", help="folder of the trainings (attribution/ in the run's)")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
