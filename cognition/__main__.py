"""`python -m cognition`: ask a lineage, while its campaign runs or after it; add papers to the library, check them."""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import sys
from collections.abc import Sequence
from typing import Any, TextIO

import duckdb

from cognition.commands import add, check
from cognition.reader import Reader, Result

EXIT_USER = 2
_COMMANDS = {"add": add, "check": check}
_WIDEST = 48  # characters of a cell in the aligned format


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns the exit code: 0, or 2 with one line on stderr that says what to change."""
    parser = argparse.ArgumentParser(prog="python -m cognition", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    sql = commands.add_parser("sql", help="run SQL over a run's tables and views")
    sql.add_argument("statement", help='for example "SELECT * FROM leaderboard LIMIT 10"')
    sql.add_argument("--run", required=True, metavar="FOLDER", help="the run's folder, runs/<name>")
    sql.add_argument("--format", choices=sorted(_FORMATS), default="table")
    for name, command in _COMMANDS.items():
        added = commands.add_parser(name, help=command.HELP, description=command.HELP)
        command.add_arguments(added)
        added.set_defaults(run=command.run)
    options = parser.parse_args(arguments)
    try:
        if options.command in _COMMANDS:
            return int(options.run(options))
        return _sql(options.statement, options.run, options.format)
    except BrokenPipeError:
        # Whoever read us has seen enough (`| head`); a null device keeps the interpreter's last flush quiet.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _sql(statement: str, run: str, form: str) -> int:
    try:
        reader = Reader(run)
        result = reader.query(statement)
    except (ValueError, OSError) as error:
        return _refuse(str(error))
    except duckdb.Error as error:
        return _refuse(f"{_first_line(error)}; {_remedy(reader, error)}")
    for fragment in reader.skipped:
        print(f"warning: left out {fragment.file} ({fragment.rows} rows): {fragment.reason}", file=sys.stderr)
    _FORMATS[form](result, sys.stdout)
    sys.stdout.flush()
    return 0


def _refuse(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return EXIT_USER


def _first_line(error: duckdb.Error) -> str:
    return str(error).strip().splitlines()[0].rstrip("! .;")


def _remedy(reader: Reader, error: duckdb.Error) -> str:
    if isinstance(error, duckdb.BinderException):
        candidates = [line.strip() for line in str(error).splitlines() if line.startswith("Candidate bindings")]
        if candidates:
            return f"{candidates[0].rstrip()} (DESCRIBE <table> lists all)"
    names = reader.query("SELECT view_name FROM duckdb_views() WHERE NOT internal ORDER BY view_name").rows
    return f"tables and views: {', '.join(name for (name,) in names)}"


def _plain(value: Any) -> Any:
    """What JSON can say: non-finite floats become null, other types their text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    return value if value is None or isinstance(value, str | int | bool) else str(value)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | dict):
        value = json.dumps(_plain(value))
    # Rows hold what candidates wrote: it may not drive the terminal.
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in str(value)).split())
    return text if len(text) <= _WIDEST else text[: _WIDEST - 3] + "..."


def _print_table(result: Result, out: TextIO) -> None:
    if not result.columns:
        return
    lines = [list(result.columns), *([_cell(value) for value in row] for row in result.rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(result.columns))]
    numeric = [
        all(isinstance(row[place], int | float | None) for row in result.rows) for place in range(len(result.columns))
    ]
    lines.insert(1, ["-" * width for width in widths])
    for line in lines:
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ]
        print("  ".join(cells).rstrip(), file=out)
    print(f"({len(result.rows)} row{'' if len(result.rows) == 1 else 's'})", file=out)


def _print_json(result: Result, out: TextIO) -> None:
    rows = [dict(zip(result.columns, _plain(row), strict=True)) for row in result.rows]
    json.dump(rows, out, indent=1, ensure_ascii=False, allow_nan=False)
    print(file=out)


def _print_csv(result: Result, out: TextIO) -> None:
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(result.columns)
    for row in result.rows:
        writer.writerow([json.dumps(_plain(value)) if isinstance(value, list | dict) else value for value in row])


_FORMATS = {"table": _print_table, "json": _print_json, "csv": _print_csv}

if __name__ == "__main__":
    sys.exit(main())
