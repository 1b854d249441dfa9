"""Rows on a terminal or for another program: aligned text, JSON, CSV."""

from __future__ import annotations

import csv
import json
import math
from typing import Any, TextIO

from cognition.printable import is_seen, one_line
from cognition.views import Result

_WIDEST = 48  # characters of a cell in the aligned format


def print_rows(result: Result, form: str, out: TextIO) -> None:
    """Write a result in one of `FORMATS`."""
    FORMATS[form](result, out)


def print_json(values: Any, out: TextIO) -> None:
    """As JSON, with escapes for all that a terminal might take for orders."""
    text = json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False)
    print("".join(one if is_seen(one) or one == "\n" else json.dumps(one)[1:-1] for one in text), file=out)


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
    text = one_line(str(value))  # rows hold what candidates wrote: it may not drive the terminal
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
    print_json(rows, out)


def _print_csv(result: Result, out: TextIO) -> None:
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(result.columns)
    for row in result.rows:
        writer.writerow([json.dumps(_plain(value)) if isinstance(value, list | dict) else value for value in row])


FORMATS = {"table": _print_table, "json": _print_json, "csv": _print_csv}
