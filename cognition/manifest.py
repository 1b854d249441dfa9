"""The manifest names the live fragments: what it does not name does not exist.

Layout of a lineage folder:

    manifest.json                     replaced atomically, once per commit
    <table>/<first>-<level>.parquet   fragments; names sort by age, files never change once written
    quarantine/                       fragments that could not be read, moved aside when the store was opened
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cognition.fragments import Fragment, write_durably

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


def read_manifest(lineage: Path) -> Manifest:
    """The manifest of a lineage folder.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is not a manifest, or one of a later format.
    """
    path = lineage / MANIFEST
    try:
        document = json.loads(path.read_bytes())
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


def write_manifest(lineage: Path, manifest: Manifest) -> None:
    """Replace the manifest atomically and durably.

    Raises:
        OSError: the file system refused; the manifest on disk is then the old or the new one, never a mixture.
    """
    document = {
        "format": FORMAT,
        "generation": manifest.generation,
        "next_fragment": manifest.next_fragment,
        "tables": {table: [_fields(entry) for entry in entries] for table, entries in manifest.tables.items()},
        "retired": [_fields(entry) for entry in manifest.retired],
        "set_aside": [_fields(entry) for entry in manifest.set_aside],
    }
    write_durably(lineage / MANIFEST, json.dumps(document).encode())


def _fields(entry: Any) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in entry.__slots__}
