"""`python -m models check FILE.py`: policy and gate on any file, jailed, without a campaign."""

from __future__ import annotations

import argparse
import ast
import json
import sys
from dataclasses import asdict
from pathlib import Path

from cognition.records import Property, Report, candidate_id_of
from models.entry import read_source, with_entry
from models.sandbox.exam import ExamJob, examine
from models.sandbox.parent import SandboxError
from models.sandbox.settings import REQUIREMENTS, SandboxSettings
from models.scale import load_scale
from models.slots import SLOTS, slot_named

PASSED, REFUSED, USAGE = 0, 1, 2


def main(arguments: list[str]) -> int:
    """Exit codes: 0 passed, 1 refused, 2 usage (also where no sandbox can be had)."""
    options = _parser().parse_args(arguments)
    try:
        report = check(options)
    except (ValueError, SandboxError) as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE
    print(_json(report) if options.format == "json" else _table(report))
    return REFUSED if report.refused else PASSED


def check(options: argparse.Namespace) -> Report:
    """The report on the file. Raises ValueError for what the user has to mend, SandboxError without a sandbox."""
    slot = slot_named(options.slot)
    source = _candidate(_read(options.file), options.entry, slot.entry)
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m models", description="Candidates without a campaign.")
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser(
        "check",
        help="run the policy and the gate on a file, jailed",
        description="Run the static policy and the executed gate on a file, jailed, and print the report. "
        "Exit code 0: passed, 1: refused, 2: usage.",
    )
    check.add_argument("file", metavar="FILE.py", type=Path)
    check.add_argument("--entry", metavar="NAME", help="the class to check, where the file does not make it plain")
    check.add_argument("--format", choices=("table", "json"), default="table")
    check.add_argument("--slot", choices=tuple(SLOTS), default="token_mixer")
    check.add_argument("--scale", default="cpu", help="conf/scale file whose first stage gives the host's size")
    check.add_argument("--thorough", action="store_true", help="longer sequences too, as suspicious winners get them")
    check.add_argument("--no-policy", action="store_true", help="leave the static policy out; the jail holds alone")
    check.add_argument("--require", choices=REQUIREMENTS, default="available", help="full: insist on every layer")
    check.add_argument("--deadline-s", type=float, default=60.0)
    return parser


def _read(path: Path) -> str:
    try:
        return read_source(path)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror or error}): name a Python file") from error


def _candidate(source: str, entry: str | None, wanted: str) -> str:
    """The text with its entry; one that does not parse or has no class goes as it is, for the gate to refuse."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return source
    if entry is None and not any(isinstance(node, ast.ClassDef) for node in ast.walk(tree)):
        return source
    return with_entry(source, entry, wanted)


def _json(report: Report) -> str:
    found = {
        "passed": not report.refused,
        "kind": report.kind.value,
        "detail": report.detail,
        "properties": [asdict(item) for item in report.properties],
    }
    return json.dumps(found, indent=2, allow_nan=False)


def _table(report: Report) -> str:
    lines = [f"{'property':<20}{'':<9}{'figure':>12}{'limit':>12}  detail"]
    lines += [_row(item) for item in report.properties]
    if not any(not item.passed for item in report.properties) and report.refused:
        lines.append(_printable(report.detail))
    lines.append(f"{'passed' if not report.refused else report.kind.value} in {report.duration_s:.1f} s")
    return "\n".join(lines)


def _row(item: Property) -> str:
    figures = "".join(f"{'-' if value is None else format(value, '.4g'):>12}" for value in (item.figure, item.limit))
    first, *more = _printable(item.detail).splitlines() or [""]
    return "\n".join([f"{item.name:<20}{'passed' if item.passed else 'REFUSED':<9}{figures}  {first}", *more])


def _printable(text: str) -> str:
    """Candidates write their own tracebacks and may not drive the terminal."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
