"""Reading a lineage while its campaign runs: no lock, one consistent state per snapshot, DuckDB views on top.

A snapshot is the manifest of one moment. Its files stay for the store's grace period after they are merged away, and
whatever vanishes later is found again through the next manifest. FragmentError fragments are left out and named.
"""

from __future__ import annotations

import glob
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import duckdb

from cognition.fragments import Fragment, FragmentError, check_fragment, read_fragment
from cognition.manifest import Manifest, read_manifest
from cognition.schema import REPEATABLE, TABLES, R, columns_of, decode, digest_of, sql_type
from cognition.store import LINEAGE

T = TypeVar("T")

_ATTEMPTS = 50  # a writer that merges without any grace period gets this many chances to take a file away
_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,  # nothing here may reach for the network
    "autoload_known_extensions": False,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A fragment that a reader left out."""

    file: str
    rows: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The answer to a query."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Snapshot:
    manifest: Manifest
    tables: dict[str, tuple[Fragment, ...]]  # those whose bytes are right


class Reader:
    """Reads `<folder>/lineage`, with or without a writer beside it. Not safe for use by several threads."""

    def __init__(self, folder: Path | str) -> None:
        """Look for the lineage of a run folder.

        Raises:
            ValueError: there is no run folder or no lineage in it.
        """
        self._lineage = Path(folder) / LINEAGE
        if not Path(folder).is_dir():
            raise ValueError(f"no run folder {folder}; give the folder of a campaign, runs/<name>")
        self._verified: set[Fragment] = set()
        self._skipped: tuple[Skipped, ...] = ()
        self._retries = 0
        self._read_manifest()

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """Fragments that the last read left out because they were missing or damaged."""
        return self._skipped

    @property
    def retries(self) -> int:
        """How often a read was taken again because files went away under it."""
        return self._retries

    def connect(self) -> duckdb.DuckDBPyConnection:
        """A new in-memory DuckDB connection with one view per table, and the views of views.sql.

        The views show the lineage of this moment, for as long as its files exist: at least the store's grace period
        (120 s unless set otherwise) after they are merged away. Connect again for later rows; `query` does all this.
        """
        return self._retrying(self._open_views)

    def query(self, sql: str) -> Result:
        """Run SQL on the newest state. A file that vanishes meanwhile is no error: the query runs again.

        Raises:
            duckdb.Error: what the SQL itself is guilty of.
        """
        return self._retrying(lambda snapshot: self._run(snapshot, sql))

    def rows(self, record_type: type[R]) -> list[R]:
        """Every record of one type, in the order in which they were appended.

        Raises:
            ValueError: a fragment was written by a version with other columns that cannot be filled in.
        """

        def read(snapshot: _Snapshot) -> list[R]:
            records: list[R] = []
            for fragment in snapshot.tables.get(record_type.TABLE, ()):
                records += decode(record_type, read_fragment(self._lineage, fragment))
            return records

        return self._retrying(read)

    def _retrying(self, read: Callable[[_Snapshot], T]) -> T:
        """Read a snapshot; when that fails because its files went away or broke meanwhile, read the next one."""
        for attempt in range(_ATTEMPTS):
            snapshot = self._snapshot()
            try:
                return read(snapshot)
            except (duckdb.Error, FragmentError):
                if attempt + 1 == _ATTEMPTS or self._intact(snapshot):
                    raise
                self._retries += 1
        raise AssertionError("the last attempt returns or raises")

    def _snapshot(self) -> _Snapshot:
        """The newest manifest with every file's bytes checked, each of them once in this reader's life."""
        for _ in range(_ATTEMPTS):
            manifest = self._read_manifest()
            skipped: list[Skipped] = []
            tables: dict[str, tuple[Fragment, ...]] = {}
            for table, fragments in manifest.tables.items():
                sound = []
                for fragment in fragments:
                    reason = self._damage(fragment)
                    if reason is None:
                        sound.append(fragment)
                    else:
                        skipped.append(Skipped(file=fragment.file, rows=fragment.rows, reason=reason))
                tables[table] = tuple(sound)
            if not skipped or self._read_manifest().generation == manifest.generation:
                break
            self._retries += 1  # the files may have been merged away under us
        self._skipped = tuple(skipped)
        return _Snapshot(manifest=manifest, tables=tables)

    def _damage(self, fragment: Fragment) -> str | None:
        if fragment in self._verified:
            return None
        try:
            check_fragment(self._lineage, fragment)
        except FragmentError as damage:
            return str(damage)
        self._verified.add(fragment)
        return None

    def _intact(self, snapshot: _Snapshot) -> bool:
        """Whether every file of the snapshot still has its bytes; those that have not are no longer trusted."""
        fragments = [fragment for table in snapshot.tables.values() for fragment in table]
        self._verified.difference_update(fragments)
        reasons = [self._damage(fragment) for fragment in fragments]
        return all(reason is None for reason in reasons)

    def _read_manifest(self) -> Manifest:
        try:
            return read_manifest(self._lineage)
        except (FileNotFoundError, NotADirectoryError):
            raise ValueError(
                f"no lineage in {self._lineage.parent}: {self._lineage} has no manifest; "
                "give the folder of a campaign that has started, runs/<name>"
            ) from None

    def _run(self, snapshot: _Snapshot, sql: str) -> Result:
        with self._open_views(snapshot) as connection:
            cursor: duckdb.DuckDBPyConnection | None = connection.execute(sql)
            if cursor is None or not cursor.description:  # nothing was asked: an empty statement
                return Result(columns=(), rows=[])
            return Result(columns=tuple(str(column[0]) for column in cursor.description), rows=cursor.fetchall())

    def _open_views(self, snapshot: _Snapshot) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect(":memory:", config=_CONFIG)
        try:
            connection.execute("SET parquet_metadata_cache = true")  # fragments never change
            for table in {**TABLES, **snapshot.tables}:
                fragments = snapshot.tables.get(table, ())
                if table in TABLES or fragments:
                    connection.execute(f"CREATE OR REPLACE VIEW {table} AS {self._select(table, fragments)}")
                if table in REPEATABLE:
                    select = self._select(table, fragments, placed=True)
                    connection.execute(f"CREATE OR REPLACE VIEW {table}_as_written AS {select}")
            connection.execute(resources.files("cognition").joinpath("views.sql").read_text())
        except BaseException:
            connection.close()
            raise
        return connection

    def _select(self, table: str, fragments: tuple[Fragment, ...], *, placed: bool = False) -> str:
        """SQL of a table's rows; `placed` adds where each of them was written (names of fragments sort by age)."""
        files = ", ".join("'" + str(self._path(fragment)).replace("'", "''") + "'" for fragment in fragments)
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

    def _path(self, fragment: Fragment) -> str:
        """DuckDB takes every name for a pattern: brackets and stars in the run's folder are escaped."""
        return glob.escape(str(self._lineage.absolute() / fragment.file))
