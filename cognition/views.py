"""The tables and views of one state of a lineage as a DuckDB connection, good for as long as that state lasts."""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import duckdb

from cognition.fragments import Fragment
from cognition.schema import REPEATABLE, TABLES, columns_of, digest_of, sql_type

_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,  # nothing here may reach for the network
    "autoload_known_extensions": False,
}
_HELD = "leaderboard"  # the view that is dear to compute, often asked for, and small
_NAMED = re.compile(rf"\b{_HELD}\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The answer to a query."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


class Views:
    """A connection over one state. Whoever asks for the leaderboard twice gets it from memory from then on.

    Its rows are those of the state's files, which never change: an answer from memory is right, also when a file has
    vanished meanwhile. Not safe for use by several threads.
    """

    def __init__(self, lineage: Path, tables: Mapping[str, tuple[Fragment, ...]]) -> None:
        self.tables = dict(tables)
        self._connection = open_views(lineage, tables)
        self._num_named = 0

    def takes(self, sql: str) -> bool:
        """Whether SQL does nothing but read, so that it leaves this connection as it was.

        Raises:
            duckdb.Error: it is no SQL.
        """
        statements = self._connection.extract_statements(sql)
        return all(statement.type == duckdb.StatementType.SELECT for statement in statements)

    def ask(self, sql: str) -> Result:
        """Run SQL that `takes` takes.

        Raises:
            duckdb.Error: of the SQL, or of a file that has gone.
        """
        if _NAMED.search(sql):
            self._num_named += 1
            if self._num_named == 2:
                self._hold()
        return run(self._connection, sql)

    def close(self) -> None:
        self._connection.close()

    def _hold(self) -> None:
        self._connection.execute(f"CREATE SCHEMA held; CREATE TABLE held.{_HELD} AS FROM {_HELD}")
        self._connection.execute(f"CREATE OR REPLACE VIEW {_HELD} AS FROM held.{_HELD} ORDER BY rank")


def run(connection: duckdb.DuckDBPyConnection, sql: str) -> Result:
    """The answer to SQL."""
    cursor: duckdb.DuckDBPyConnection | None = connection.execute(sql)
    if cursor is None or not cursor.description:  # nothing was asked: an empty statement
        return Result(columns=(), rows=[])
    return Result(columns=tuple(str(column[0]) for column in cursor.description), rows=cursor.fetchall())


def open_views(lineage: Path, tables: Mapping[str, tuple[Fragment, ...]]) -> duckdb.DuckDBPyConnection:
    """A new in-memory connection with one view per table, and the views of views.sql."""
    connection = duckdb.connect(":memory:", config=_CONFIG)
    try:
        connection.execute("SET parquet_metadata_cache = true")  # fragments never change
        for table in {**TABLES, **tables}:
            fragments = tables.get(table, ())
            if table in TABLES or fragments:
                connection.execute(f"CREATE OR REPLACE VIEW {table} AS {_select(lineage, table, fragments)}")
            if table in REPEATABLE:
                select = _select(lineage, table, fragments, placed=True)
                connection.execute(f"CREATE OR REPLACE VIEW {table}_as_written AS {select}")
        connection.execute(resources.files("cognition").joinpath("views.sql").read_text())
    except BaseException:
        connection.close()
        raise
    return connection


def _select(lineage: Path, table: str, fragments: tuple[Fragment, ...], *, placed: bool = False) -> str:
    """SQL of a table's rows; `placed` adds where each of them was written (names of fragments sort by age)."""
    files = ", ".join("'" + _pattern(lineage, fragment).replace("'", "''") + "'" for fragment in fragments)
    place = "filename = true, file_row_number = true" if placed else "filename = false"
    if table not in TABLES:  # a table that a later version added: its own columns
        return f"SELECT * FROM read_parquet([{files}], union_by_name = true)"
    record_type = TABLES[table]
    typed = [f"NULL::{sql_type(column)} AS {column.name}" for column in columns_of(record_type)]
    if placed:
        typed += ["NULL::VARCHAR AS filename", "NULL::BIGINT AS file_row_number"]
    empty = f"SELECT {', '.join(typed)} WHERE false"
    if not fragments:
        return empty
    if all(fragment.digest == digest_of(record_type) for fragment in fragments):
        return f"SELECT * FROM read_parquet([{files}], {place})"
    return f"{empty} UNION ALL BY NAME SELECT * FROM read_parquet([{files}], {place}, union_by_name = true)"


def _pattern(lineage: Path, fragment: Fragment) -> str:
    """DuckDB takes every name for a pattern: brackets and stars in the run's folder are escaped."""
    return glob.escape(str(lineage.absolute() / fragment.file))
