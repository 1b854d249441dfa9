"""The store's one writer: append-only groups of typed records, durable when `append` returns.

A commit writes its fragments first and the manifest last, so a kill or power cut at any point leaves either the whole
group or none of it. Many small fragments are merged in tiers, so that the cost of an append stays amortised and a
million rows stay well below a thousand files.

Not covered: two writers on one folder (the campaign's lease refuses the second). In an object store a PUT whose answer
was lost may land later: fragments have names that are never used again, and the manifest is asked for before anything
else (`Store.append`); one that lands after the next is the one thing that is not noticed.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from cognition.folders import Folder, Place, at_once, folder_at
from cognition.fragments import Fragment, FragmentError, check_fragments, rows_in, write_fragment
from cognition.manifest import (
    QUARANTINE,
    Manifest,
    Retired,
    SetAside,
    files_in,
    load_or_create,
    read_manifest,
    write_manifest,
)
from cognition.merging import next_run
from cognition.records import Record
from cognition.schema import REPEATABLE, TABLES, digest_of, encode, key_of

LINEAGE = "lineage"

Keys = dict[str, set[tuple[Any, ...]]]  # of the tables that have keys


@dataclass(frozen=True, slots=True, kw_only=True)
class _Doubt:
    """A manifest that could not be replaced for sure: the folder holds the old one or the new one."""

    records: tuple[Record, ...] = ()  # of the group that it would have committed; none for a merge
    keys: Keys
    files: tuple[str, ...] = ()  # that it would have added


class Store:
    """The writer of `<folder>/lineage`. Made by `Store.open`; safe to call from several threads of one process."""

    def __init__(
        self,
        lineage: Folder,
        manifest: Manifest,
        *,
        merge_above: int,
        grace_s: float,
        now: Any,
        clock: Any,
        confirm: Any,
    ) -> None:
        self._lineage = lineage
        self._manifest = manifest
        self._merge_above = merge_above
        self._grace_s = grace_s
        self._now: Callable[[], float] = now
        self._clock: Callable[[], float] = clock
        self._confirm: Callable[[], None] = confirm
        # What earlier processes retired has its whole grace period again: no clock is common to both.
        self._retired_since: dict[Retired, float] = dict.fromkeys(manifest.retired, self._clock())
        self._doubt: _Doubt | None = None
        self._keys: Keys = {table: set() for table in TABLES if table not in REPEATABLE}
        self._set_aside: list[SetAside] = []
        self._lock = threading.Lock()
        self._closed = ""  # why, once it is

    @classmethod
    def open(
        cls,
        folder: Folder | Place,
        *,
        merge_above: int = 64,
        grace_s: float = 120.0,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        confirm: Callable[[], None] = lambda: None,
    ) -> Self:
        """Open or create the store of a run folder, and bring it in order.

        Fragments that no manifest names are removed (their group was never acknowledged), and so are temporary files.
        Every fragment is read: one that is missing or damaged goes to `quarantine/`, is named in `set_aside` and in
        the manifest, and the rest is kept.

        Args:
            folder: the run folder, or its path or URI; the store lives in its `lineage` folder.
            merge_above: a table is merged when it has more than this many fragments of single commits.
            grace_s: seconds for which merged-away files stay readable.
            now: seconds since the epoch, for stamps.
            clock: seconds that only go forward, for the grace period: a stamp may be hours wrong.
            confirm: asked before each state is written; raises where somebody else may be the writer by now.

        Raises:
            ValueError: the manifest is damaged, or missing while fragments are there; an argument is out of range.
            OSError: the folder refused, or cannot be reached.
        """
        if merge_above < 1:
            raise ValueError(f"merge_above={merge_above}: give at least 1")
        if grace_s < 0:
            raise ValueError(f"grace_s={grace_s}: give 0 or more seconds")
        lineage = folder_at(folder).within(LINEAGE)
        manifest = load_or_create(lineage, TABLES)
        store = cls(lineage, manifest, merge_above=merge_above, grace_s=grace_s, now=now, clock=clock, confirm=confirm)
        store._bring_in_order()
        return store

    @property
    def set_aside(self) -> tuple[SetAside, ...]:
        """Fragments that this opening, or a merge since, found missing or damaged."""
        return tuple(self._set_aside)

    def has(self, record_type: type[Record], *key: Any) -> bool:
        """Whether a record with this KEY is in the store; not for tables whose keys may repeat."""
        return tuple(key) in self._keys[record_type.TABLE]

    def append(self, *records: Record) -> None:
        """Commit records of any tables as one group: all of them are durable when this returns, or none is kept.

        Raises:
            ValueError: a key is in the store already or twice in the group (`metrics` alone may repeat), a value does
                not fit its column, or the store is closed. Nothing was written.
            OSError: the folder refused. Nothing was written, or, where it refused the manifest itself, all of it may
                have been: append the same group again, and it is in the store once.
        """
        with self._lock:
            self._check_open()
            if self._settled() == records and records:
                return
            groups: dict[str, list[Record]] = {}
            for record in records:
                groups.setdefault(record.TABLE, []).append(record)
            new_keys = {table: self._new_keys(table, group) for table, group in groups.items()}
            tables = {table: encode(TABLES[table], group) for table, group in groups.items()}
            if not tables:
                return
            self._commit(tables, _Doubt(records=records, keys=new_keys))
            self._learn(new_keys)
            try:
                self._merge(self._merge_above)
            except OSError:
                # The records are committed: a merge that the file system refuses must not read as a failed append.
                # It is tried again with the next one.
                return

    def merge(self, *, above: int | None = None) -> int:
        """Merge now; `append` does so by itself. Returns the number of fragments that were merged away.

        Args:
            above: tables with more single-commit fragments than this are merged; None: the store's own number.

        Raises:
            ValueError: the store is closed.
            OSError: the file system refused; nothing is lost.
        """
        with self._lock:
            self._check_open()
            self._settled()
            merged = self._merge(self._merge_above if above is None else above)
            self._sweep()
            return merged

    def close(self) -> None:
        """Remove what outlived its grace period; appending after this is an error. Closing twice is none."""
        with self._lock:
            if not self._closed:
                with contextlib.suppress(OSError):  # nothing is lost: the next opening removes what stayed
                    self._sweep()
                self._closed = "it was closed"
            self._keys.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError(f"{self._lineage} takes no records: {self._closed}; open the store again")

    def _new_keys(self, table: str, group: list[Record]) -> set[tuple[Any, ...]]:
        keys: set[tuple[Any, ...]] = set()
        if table in REPEATABLE:
            return keys
        known = self._keys[table]
        for record in group:
            key = key_of(record)
            if key in known or key in keys:
                where = "in the store already" if key in known else "twice in this group"
                named = ", ".join(f"{name}={value!r}" for name, value in zip(record.KEY, key, strict=True))
                raise ValueError(f"{table}: {named} is {where}; every key is written once, ask `has` first")
            keys.add(key)
        return keys

    def _learn(self, keys: Keys) -> None:
        for table, new in keys.items():
            if table not in REPEATABLE:
                self._keys[table] |= new

    def _settled(self) -> tuple[Record, ...]:
        """Ask the folder what came of a manifest that could not be replaced for sure; the group that it did commit.

        Raises:
            OSError: the folder does not tell, so the doubt stays.
        """
        if (doubt := self._doubt) is None:
            return ()
        found = read_manifest(self._lineage)
        committed = found.generation > self._manifest.generation
        if committed:
            # It can be read, which does not say that it would outlive a power cut: written once more, it does.
            found = replace(found, generation=found.generation + 1)
            self._confirm()
            write_manifest(self._lineage, found)
            self._manifest = found
            self._learn(doubt.keys)
        else:
            self._remove(doubt.files)
            # Should it come yet: the next one is told from it.
            self._manifest = replace(self._manifest, generation=self._manifest.generation + 1)
        self._doubt = None
        return doubt.records if committed else ()

    def _remove(self, files: Iterable[str]) -> None:
        """Files that no state names; what stays is removed by the next opening."""

        def removed(file: str) -> None:
            with contextlib.suppress(OSError):
                self._lineage.remove(file)

        at_once(self._lineage.width, removed, files)

    def _abandon(self, files: Iterable[str]) -> None:
        """Remove what a refused write may have left; an object store that refuses takes seconds to do so again."""
        if self._lineage.path is not None:
            self._remove(files)

    def _file(self, table: str, first: str, level: int) -> str:
        """A fragment's name, which in an object store nobody has ever used: a PUT that is given up may land later."""
        attempt = "" if self._lineage.path is not None else f".{secrets.token_hex(4)}"
        return f"{table}/{first}-{level}{attempt}.parquet"

    def _commit(self, tables: dict[str, pa.Table], doubt: _Doubt) -> None:
        """Fragments first, manifest last."""
        manifest = self._manifest
        number = manifest.next_fragment
        files = {table: self._file(table, f"{place:010d}", 0) for place, table in enumerate(tables, start=number)}

        def written(table: str) -> Fragment:
            digest = digest_of(TABLES[table])
            return write_fragment(self._lineage, files[table], tables[table], level=0, digest=digest)

        try:
            fragments = dict(zip(tables, at_once(self._lineage.width, written, tables), strict=True))
        except BaseException:
            self._abandon(files.values())
            raise
        live = {table: (*manifest.tables.get(table, ()), fragment) for table, fragment in fragments.items()}
        self._publish(
            replace(manifest, tables={**manifest.tables, **live}, next_fragment=number + len(files)),
            doubt=replace(doubt, files=tuple(files.values())),
        )

    def _publish(self, manifest: Manifest, *, doubt: _Doubt | None = None) -> None:
        """Make this the store's state; files whose grace period is over go with it."""
        doubt = doubt or _Doubt(keys={})
        try:
            self._confirm()
        except BaseException:
            self._abandon(doubt.files)
            raise
        expired = [entry for entry in manifest.retired if self._expired(entry)]
        kept = tuple(entry for entry in manifest.retired if entry not in expired)
        manifest = replace(manifest, generation=manifest.generation + 1, retired=kept)
        try:
            write_manifest(self._lineage, manifest)
        except BaseException:
            self._doubt = doubt
            raise
        self._manifest = manifest
        for entry in expired:
            del self._retired_since[entry]
            self._remove(entry.files)

    def _expired(self, entry: Retired) -> bool:
        now = self._clock()
        return now - self._retired_since.setdefault(entry, now) >= self._grace_s

    def _sweep(self) -> None:
        if any(self._expired(entry) for entry in self._manifest.retired):
            self._publish(self._manifest)

    def _merge(self, above: int) -> int:
        merged = 0
        for table in self._manifest.tables:
            while run := next_run(self._manifest.tables[table], above):
                merged += self._merge_run(table, run)
        return merged

    def _merge_run(self, table: str, run: list[Fragment]) -> int:
        """Replace neighbouring fragments by one with the same rows in the same order."""
        parts = []
        for fragment, found in check_fragments(self._lineage, run):
            if isinstance(found, FragmentError):
                self._put_aside({fragment.file: str(found)})
                return 0  # what is left of the run comes up again
            parts.append(rows_in(found))
        level = run[0].level + 1
        first = PurePosixPath(run[0].file).name.split("-")[0]
        file = self._file(table, first, level)
        try:
            whole = write_fragment(self._lineage, file, pa.concat_tables(parts), level=level, digest=run[0].digest)
        except BaseException:
            self._abandon([file])
            raise
        gone = {fragment.file for fragment in run}
        live: list[Fragment] = []
        for fragment in self._manifest.tables[table]:
            if fragment.file == run[0].file:
                live.append(whole)
            elif fragment.file not in gone:
                live.append(fragment)
        retired = Retired(files=tuple(fragment.file for fragment in run), retired_at=self._now())
        self._publish(
            replace(
                self._manifest,
                tables={**self._manifest.tables, table: tuple(live)},
                retired=(*self._manifest.retired, retired),
            ),
            doubt=_Doubt(keys={}, files=(file,)),
        )
        return len(run)

    def _bring_in_order(self) -> None:
        """Verify and index the live fragments, then clear away what belongs to no state."""
        damaged: dict[str, str] = {}
        for table, fragments in self._manifest.tables.items():
            for fragment, found in check_fragments(self._lineage, fragments):
                if isinstance(found, FragmentError):
                    damaged[fragment.file] = str(found)
                elif table in self._keys:
                    names = TABLES[table].KEY
                    rows = rows_in(found, columns=names)
                    self._keys[table].update(zip(*(rows.column(name).to_pylist() for name in names), strict=True))
        if damaged:
            self._put_aside(damaged)
        self._sweep()
        known = {fragment.file for fragment in self._manifest.live()}
        known.update(file for entry in self._manifest.retired for file in entry.files)
        for file in files_in(self._lineage, {*TABLES, *self._manifest.tables}):
            if file not in known:
                self._lineage.remove(file)

    def _put_aside(self, damaged: dict[str, str]) -> None:
        """Move fragments to quarantine, then out of the manifest; a kill in between is finished by the next opening."""
        entries = []
        for fragment in self._manifest.live():
            if fragment.file not in damaged:
                continue
            target = f"{QUARANTINE}/{fragment.file.replace('/', '-')}"
            moved = self._lineage.move(fragment.file, target)
            entries.append(
                SetAside(
                    file=fragment.file,
                    rows=fragment.rows,
                    reason=damaged[fragment.file],
                    moved_to=target if moved else None,
                    set_aside_at=self._now(),
                )
            )
        self._publish(
            replace(
                self._manifest,
                tables={
                    table: tuple(fragment for fragment in fragments if fragment.file not in damaged)
                    for table, fragments in self._manifest.tables.items()
                },
                set_aside=(*self._manifest.set_aside, *entries),
            )
        )
        self._set_aside.extend(entries)
