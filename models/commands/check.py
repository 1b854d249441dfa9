"""`python -m models check FILE.py`: policy and gate on any file, jailed, without a campaign."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from cognition.records import Property, Report, candidate_id_of
from models.commands.mixers import candidate_text, read_file, slot_of
from models.commands.trials import require_backend
from models.sandbox.exam import ExamJob, examine
from models.sandbox.settings import REQUIREMENTS, SandboxSettings
from models.scale import load_scale
from models.slots import SLOTS, TOKEN_MIXER, slot_named

PASSED, REFUSED = 0, 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `check`."""
    parser.description = (
        "Run the static policy and the executed gate on a file, jailed, and print the report. "
        "Exit code 0: passed, 1: refused, 2: usage."
    )
    parser.add_argument("file", metavar="FILE.py", type=Path)
    parser.add_argument("--entry", metavar="NAME", help="the class to check, where the file does not make it plain")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    parser.add_argument(
        "--slot", choices=tuple(SLOTS), help="the place that is filled; default: by the file's class, else token_mixer"
    )
    parser.add_argument("--scale", default="cpu", help="conf/scale file whose first stage gives the host's size")
    parser.add_argument("--thorough", action="store_true", help="longer sequences too, as suspicious winners get them")
    parser.add_argument("--no-policy", action="store_true", help="leave the static policy out; the jail holds alone")
    parser.add_argument("--require", choices=REQUIREMENTS, default="available", help="full: insist on every layer")
    parser.add_argument("--deadline-s", type=float, default=60.0)


def run(options: argparse.Namespace) -> int:
    """Print the report. Raises ValueError for what the user has to mend, SandboxError without a sandbox."""
    report = check(options)
    print(_json(report) if options.format == "json" else _table(report))
    return REFUSED if report.refused else PASSED


def check(options: argparse.Namespace) -> Report:
    """The report on the file."""
    require_backend()
    text = read_file(options.file)
    slot = slot_named(options.slot) if options.slot else slot_of(text, options.entry)
    if slot.name != options.slot and slot.name != TOKEN_MIXER:
        print(f"checked as a {slot.name}, since it defines {slot.entry} (--slot says otherwise)", file=sys.stderr)
    source = candidate_text(text, options.entry, slot.entry)
    stage = load_scale(options.scale).stages[0]
    job = ExamJob(
        candidate_id=candidate_id_of(source),
        number=0,
        attempt=0,
        source=source,
        slot=slot.name,
        size=stage.size,
        length=stage.length,
        deadline_s=options.deadline_s,
        policy=not options.no_policy,
        thorough=options.thorough,
    )
    with SandboxSettings(require=options.require).fork_server() as server:
        if options.format == "table":
            for layer in server.layers():
                if not layer.in_force:
                    print(f"sandbox: {layer.name} is missing ({layer.detail})", file=sys.stderr)
        return examine(job, server)


def _json(report: Report) -> str:
    found = {
        "passed": not report.refused,
        "kind": report.kind.value,
        "detail": report.detail,
        "properties": [asdict(item) for item in report.properties],
    }
    return json.dumps(found, indent=2, allow_nan=False)


def _table(report: Report) -> str:
    lines = [f"{'property':<22}{'':<9}{'figure':>12}{'limit':>12}  detail"]
    lines += [_row(item) for item in report.properties]
    if not any(not item.passed for item in report.properties) and report.refused:
        lines.append(_printable(report.detail))
    lines.append(f"{'passed' if not report.refused else report.kind.value} in {report.duration_s:.1f} s")
    return "\n".join(lines)


def _row(item: Property) -> str:
    figures = "".join(f"{'-' if value is None else format(value, '.4g'):>12}" for value in (item.figure, item.limit))
    first, *more = _printable(item.detail).splitlines() or [""]
    return "\n".join([f"{item.name:<22}{'passed' if item.passed else 'REFUSED':<9}{figures}  {first}", *more])


def _printable(text: str) -> str:
    """Candidates write their own tracebacks and may not drive the terminal."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text)
