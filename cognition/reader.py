"""Reading a lineage while its campaign runs: no lock, one consistent state per snapshot, DuckDB views on top.

A snapshot is the manifest of one moment. Its files stay for the store's grace period after they are merged away, and
whatever vanishes later is found again through the next manifest. FragmentError fragments are left out and named.

Of a lineage in an object store fragments are fetched once, and read from there: what is damaged later is not noticed.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import duckdb

from cognition.copies import copies_of
from cognition.folders import Folder, Place, folder_at
from cognition.fragments import Fragment, FragmentError, rows_in
from cognition.manifest import Manifest, read_manifest
from cognition.schema import R, decode
from cognition.store import LINEAGE
from cognition.views import Result, Views, open_views, run

T = TypeVar("T")

_ATTEMPTS = 400  # a writer that merges without any grace period gets this many chances to take a file away


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A fragment that a reader left out."""

    file: str
    rows: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Snapshot:
    manifest: Manifest
    tables: dict[str, tuple[Fragment, ...]]  # those whose bytes are right


class NoLineage(ValueError):
    """There is no lineage in the run folder, or none any more."""


class Reader:
    """Reads `<folder>/lineage`, with or without a writer beside it. Not safe for use by several threads."""

    def __init__(self, folder: Folder | Place) -> None:
        """Look for the lineage of a run folder: a path, or the URI of an object store.

        Raises:
            NoLineage: there is no run folder or no lineage in it.
            ValueError: runs cannot lie there.
            OSError: it cannot be reached.
        """
        self._folder = folder_at(folder)
        self._lineage = self._folder.within(LINEAGE)
        if not self._folder.exists():
            raise NoLineage(f"no run folder {self._folder}; give the folder of a campaign, runs/<name>")
        self._copies = copies_of(self._lineage)
        self._verified: set[Fragment] = set()
        self._skipped: tuple[Skipped, ...] = ()
        self._retries = 0
        self._views: Views | None = None  # of the state that was queried last
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
        connection = self._retrying(lambda snapshot: open_views(self._copies.root, snapshot.tables))
        weakref.finalize(connection, lambda copies: None, self._copies)  # they stay for as long as it does
        return connection

    def query(self, sql: str) -> Result:
        """Run SQL on the newest state. A file that vanishes meanwhile is no error: the query runs again.

        As long as nothing is written, further queries use the same views. SQL that does more than read gets views of
        its own: nothing of it is there for the next query.

        Raises:
            duckdb.Error: what the SQL itself is guilty of.
            OSError: the lineage cannot be reached.
        """
        return self._retrying(lambda snapshot: self._answer(snapshot, sql))

    def rows(self, record_type: type[R]) -> list[R]:
        """Every record of one type, in the order in which they were appended.

        Raises:
            ValueError: a fragment was written by a version with other columns that cannot be filled in.
            OSError: the lineage cannot be reached.
        """

        def read(snapshot: _Snapshot) -> list[R]:
            records: list[R] = []
            for fragment in snapshot.tables.get(record_type.TABLE, ()):
                records += decode(record_type, rows_in(self._copies.read(fragment)))
            return records

        return self._retrying(read, record_type.TABLE)

    def _retrying(self, read: Callable[[_Snapshot], T], table: str | None = None) -> T:
        """Read a snapshot; when that fails because its files went away or broke meanwhile, read the next one.

        `table`: all that is read of it.
        """
        for attempt in range(_ATTEMPTS):
            snapshot = self._snapshot(table)
            try:
                return read(snapshot)
            except (duckdb.Error, FragmentError):
                if attempt + 1 == _ATTEMPTS or self._intact(snapshot):
                    raise
                self._retries += 1
        raise AssertionError("the last attempt returns or raises")

    def _snapshot(self, only: str | None) -> _Snapshot:
        """The newest manifest with the bytes of every file checked, each of them once in this reader's life."""
        for _ in range(_ATTEMPTS):
            manifest = self._read_manifest()
            found = {table: parts for table, parts in manifest.tables.items() if only in (None, table)}
            reasons = self._damage([fragment for parts in found.values() for fragment in parts])
            if not reasons or self._read_manifest().generation == manifest.generation:
                break
            self._retries += 1  # the files may have been merged away under us
        self._copies.keep(manifest)
        self._skipped = tuple(
            Skipped(file=fragment.file, rows=fragment.rows, reason=reason) for fragment, reason in reasons.items()
        )
        tables = {table: tuple(part for part in parts if part not in reasons) for table, parts in found.items()}
        return _Snapshot(manifest=manifest, tables=tables)

    def _damage(self, fragments: Sequence[Fragment]) -> Mapping[Fragment, str]:
        """Which of them are missing or damaged, and how."""
        unknown = [fragment for fragment in fragments if fragment not in self._verified]
        reasons = self._copies.check(unknown)
        self._verified.update(fragment for fragment in unknown if fragment not in reasons)
        return reasons

    def _intact(self, snapshot: _Snapshot) -> bool:
        """Whether every file of the snapshot still has its bytes; those that have not are no longer trusted."""
        fragments = [fragment for table in snapshot.tables.values() for fragment in table]
        gone = any(not (self._copies.root / fragment.file).exists() for fragment in fragments)
        self._verified.difference_update(fragments)
        return not self._damage(fragments) and not gone

    def _read_manifest(self) -> Manifest:
        try:
            return read_manifest(self._lineage)
        except (FileNotFoundError, NotADirectoryError):
            raise NoLineage(
                f"no lineage in {self._folder}: {self._lineage} has no manifest; "
                "give the folder of a campaign that has started, runs/<name>"
            ) from None

    def _answer(self, snapshot: _Snapshot, sql: str) -> Result:
        views = self._views
        if views is None or views.tables != snapshot.tables:
            self._forget()
            views = self._views = Views(self._copies.root, snapshot.tables)
        try:
            if views.takes(sql):
                return views.ask(sql)
        except duckdb.Error:
            self._forget()
            raise
        with open_views(self._copies.root, snapshot.tables) as connection:  # what it leaves there goes with it
            return run(connection, sql)

    def _forget(self) -> None:
        """The next query makes its views anew."""
        if self._views is not None:
            self._views.close()
            self._views = None
