"""Reading a lineage while its campaign runs: no lock, one consistent state per snapshot, DuckDB views on top.

A snapshot is the manifest of one moment. Its files stay for the store's grace period after they are merged away, and
whatever vanishes later is found again through the next manifest. FragmentError fragments are left out and named.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import duckdb

from cognition.fragments import Fragment, FragmentError, check_fragment, read_fragment
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

    def __init__(self, folder: Path | str) -> None:
        """Look for the lineage of a run folder.

        Raises:
            NoLineage: there is no run folder or no lineage in it.
        """
        self._lineage = Path(folder) / LINEAGE
        if not Path(folder).is_dir():
            raise NoLineage(f"no run folder {folder}; give the folder of a campaign, runs/<name>")
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
        return self._retrying(lambda snapshot: open_views(self._lineage, snapshot.tables))

    def query(self, sql: str) -> Result:
        """Run SQL on the newest state. A file that vanishes meanwhile is no error: the query runs again.

        As long as nothing is written, further queries use the same views. SQL that does more than read gets views of
        its own: nothing of it is there for the next query.

        Raises:
            duckdb.Error: what the SQL itself is guilty of.
        """
        return self._retrying(lambda snapshot: self._answer(snapshot, sql))

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
            raise NoLineage(
                f"no lineage in {self._lineage.parent}: {self._lineage} has no manifest; "
                "give the folder of a campaign that has started, runs/<name>"
            ) from None

    def _answer(self, snapshot: _Snapshot, sql: str) -> Result:
        views = self._views
        if views is None or views.tables != snapshot.tables:
            self._forget()
            views = self._views = Views(self._lineage, snapshot.tables)
        try:
            if views.takes(sql):
                return views.ask(sql)
        except duckdb.Error:
            self._forget()
            raise
        with open_views(self._lineage, snapshot.tables) as connection:  # what it leaves there goes with it
            return run(connection, sql)

    def _forget(self) -> None:
        """The next query makes its views anew."""
        if self._views is not None:
            self._views.close()
            self._views = None
