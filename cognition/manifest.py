"""The manifest names the live fragments: what it does not name does not exist.

Layout of a lineage folder:

    manifest.json                     replaced atomically, once per commit
    <table>/<first>-<level>.parquet   fragments; names sort by age, files never change once written
                                      (in object stores <first>-<level>.<random>.parquet)
    quarantine/                       fragments that could not be read, moved aside when the store was opened
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from cognition.folders import Folder, Place, folder_at, read_json
from cognition.fragments import Fragment

MANIFEST = "manifest.json"
QUARANTINE = "quarantine"
FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Retired:
    """Files that one merge replaced; they stay for the grace period, so that readers finish what they began."""

    files: tuple[str, ...]
    retired_at: float  # seconds since the epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    """A fragment that could not be read, and where it went."""

    file: str
    rows: int  # lost with it
    reason: str
    moved_to: str | None  # relative to the lineage folder; None: there was nothing left to move
    set_aside_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One consistent state of the store."""

    generation: int = 0  # counts commits, merges and everything else that replaced the manifest
    next_fragment: int = 1
    tables: dict[str, tuple[Fragment, ...]] = field(default_factory=dict)  # oldest rows first
    retired: tuple[Retired, ...] = ()  # oldest first
    set_aside: tuple[SetAside, ...] = ()

    def live(self) -> list[Fragment]:
        return [fragment for fragments in self.tables.values() for fragment in fragments]


def read_manifest(lineage: Folder | Place) -> Manifest:
    """The manifest of a lineage folder.

    Raises:
        FileNotFoundError: there is none.
        OSError: it cannot be had.
        ValueError: it is not a manifest, or one of a later format.
    """
    folder = folder_at(lineage)
    path = folder.where(MANIFEST)
    try:
        document = read_json(folder, MANIFEST)
        version = document["format"]
        if version != FORMAT:
            raise ValueError(f"{path} has format {version}, this version reads {FORMAT}; use the version that wrote it")
        return Manifest(
            generation=document["generation"],
            next_fragment=document["next_fragment"],
            tables={
                table: tuple(Fragment(**entry) for entry in entries) for table, entries in document["tables"].items()
            },
            retired=tuple(
                Retired(files=tuple(entry["files"]), retired_at=entry["retired_at"]) for entry in document["retired"]
            ),
            set_aside=tuple(SetAside(**entry) for entry in document["set_aside"]),
        )
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no manifest ({error!r}); restore it from a copy of the run folder") from error


def write_manifest(lineage: Folder | Place, manifest: Manifest) -> None:
    """Replace the manifest atomically and durably.

    Raises:
        OSError: the folder refused; the manifest there is then the old or the new one, never a mixture.
    """
    document = {
        "format": FORMAT,
        "generation": manifest.generation,
        "next_fragment": manifest.next_fragment,
        "tables": {table: [_fields(entry) for entry in entries] for table, entries in manifest.tables.items()},
        "retired": [_fields(entry) for entry in manifest.retired],
        "set_aside": [_fields(entry) for entry in manifest.set_aside],
    }
    folder_at(lineage).write(MANIFEST, json.dumps(document).encode())


def load_or_create(lineage: Folder, tables: Collection[str]) -> Manifest:
    """The manifest; a first one, with a folder for each table, where there is nothing yet.

    Raises:
        ValueError: it is damaged, or missing while fragments are there.
    """
    lineage.create(*tables)
    try:
        return read_manifest(lineage)
    except FileNotFoundError:
        # The first manifest is written before the first fragment: fragments without one mean that it was lost.
        fragments = [file for file in files_in(lineage, tables) if file.endswith(".parquet")]
        if fragments:
            raise ValueError(
                f"{lineage.where(MANIFEST)} is missing but {len(fragments)} fragments are there; restore it from a "
                "copy, or move the lineage folder away to start anew"
            ) from None
    manifest = Manifest()
    write_manifest(lineage, manifest)
    return manifest


def files_in(lineage: Folder, tables: Collection[str]) -> list[str]:
    """Every file of ours beside the manifest: fragments of any state, and temporary files of a cut-off write."""
    found = []
    for file in lineage.files():
        folder, _, name = file.rpartition("/")
        if file == f"{MANIFEST}.tmp" or (folder in tables and name.endswith((".parquet", ".tmp"))):
            found.append(file)
    return found


def _fields(entry: Any) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in entry.__slots__}
