"""`python -m orchestrator.report runs/X [runs/Y ...]`: what campaigns came to, as Markdown and as data.

One campaign's report goes into its run folder (report.md, report.json), where a finished campaign has left it already;
several beside each other, or one with --out, where --out says, else on the terminal. docs/report.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from orchestrator.errors import UsageError
from orchestrator.report.figures import Figures, figures_of
from orchestrator.report.markdown import comparison_of, report_of
from orchestrator.run_folder import RunFolder

MARKDOWN, DATA = "report.md", "report.json"


def main(arguments: list[str]) -> int:
    """Exit codes: 0 written, 2 bad input."""
    asked = _parser().parse_args(arguments)
    try:
        if len(asked.runs) == 1 and asked.out is None:
            print(write_report(asked.runs[0]))
            return 0
        if asked.out is not None and Path(asked.out).suffix != ".md":
            raise UsageError(f"--out is {asked.out!r}: give FILE.md, FILE.json goes beside it")
        every = [figures_of(run) for run in asked.runs]
        told = report_of(every[0]) if len(every) == 1 else comparison_of(every)
        if asked.out is None:
            print(told)
            return 0
        path = Path(asked.out)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(told, encoding="utf-8")
        path.with_suffix(".json").write_text(_data(every), encoding="utf-8")
        print(f"{path} and {path.with_suffix('.json')}")
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def write_report(run: str) -> str:
    """Into the run folder; says where.

    Raises:
        UsageError, ValueError, OSError: it is no campaign's folder, or cannot be read or written.
    """
    folder, figures = RunFolder.existing(run), figures_of(run)
    try:
        folder.folder.write(MARKDOWN, report_of(figures).encode())
        folder.folder.write(DATA, _data([figures]).encode())
    except OSError as error:
        raise UsageError(f"{folder.place} cannot be written ({error}): give --out FILE.md") from error
    return f"{folder.folder.where(MARKDOWN)} and {folder.folder.where(DATA)}"


def _data(every: Sequence[Figures]) -> str:
    return json.dumps(every if len(every) > 1 else every[0], indent=1, default=str) + "\n"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m orchestrator.report", description="What campaigns came to, as Markdown and as data."
    )
    parser.add_argument("runs", nargs="+", metavar="runs/NAME", help="run folders; several are put beside each other")
    parser.add_argument("--out", metavar="FILE.md", help="where it goes, with FILE.json beside it")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
