"""`python -m cognition sql`: SQL over a run's tables and views."""

from __future__ import annotations

import argparse
import sys

import duckdb

from cognition.commands.output import FORMATS, print_rows
from cognition.reader import Reader

HELP = "run SQL over a run's tables and views"
_USAGE = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be said on the command line."""
    parser.add_argument("statement", help='for example "SELECT * FROM leaderboard LIMIT 10"')
    parser.add_argument(
        "--run", required=True, metavar="FOLDER", help="the run's folder, runs/<name>, or its URI", dest="folder"
    )
    parser.add_argument("--format", choices=sorted(FORMATS), default="table")


def run(options: argparse.Namespace) -> int:
    """Prints the answer; 0, or 2 with one line on stderr."""
    return _sql(options.statement, options.folder, options.format)


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
    print_rows(result, form, sys.stdout)
    sys.stdout.flush()
    return 0


def _refuse(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return _USAGE


def _first_line(error: duckdb.Error) -> str:
    return str(error).strip().splitlines()[0].rstrip("! .;")


def _remedy(reader: Reader, error: duckdb.Error) -> str:
    if isinstance(error, duckdb.BinderException):
        candidates = [line.strip() for line in str(error).splitlines() if line.startswith("Candidate bindings")]
        if candidates:
            return f"{candidates[0].rstrip()} (DESCRIBE <table> lists all)"
    names = reader.query("SELECT view_name FROM duckdb_views() WHERE NOT internal ORDER BY view_name").rows
    return f"tables and views: {', '.join(name for (name,) in names)}"
