"""Which folder a place is: a path, or a URI."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from cognition.folders.folder import Folder, Place
from cognition.folders.local import LocalFolder

OBJECT_STORES = ("s3", "gs", "gcs")


def require_place(place: Place) -> None:
    """Raise ValueError unless a run may lie there; whether it can be reached is not asked."""
    if isinstance(place, Path) or "://" not in place:
        return
    parts = urlsplit(place)
    if not place.startswith(f"{parts.scheme}://"):
        raise ValueError(f"{place}: write the scheme in small letters, {parts.scheme}://")
    if parts.scheme == "file":
        return
    if parts.scheme in ("abfs", "abfss", "hdfs", "viewfs"):
        raise ValueError(
            f"{place}: files of {parts.scheme} are empty while they are written (pyarrow's way), so that a kill could "
            f"lose a run; use {' or '.join(OBJECT_STORES)}, or mount it and give the path"
        )
    if parts.scheme not in OBJECT_STORES:
        raise ValueError(f"{place}: known are paths and the schemes file, {', '.join(OBJECT_STORES)}")
    if "@" in parts.netloc:
        shown = f"{parts.scheme}://...@{parts.netloc.rpartition('@')[2]}{parts.path}"
        raise ValueError(
            f"{shown} has a key in it, which would be written down: take it out and set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or what else the store reads from the environment"
        )
    if not parts.netloc or parts.fragment:
        raise ValueError(f"{place} names no place: give {parts.scheme}://BUCKET/PATH")


def folder_at(place: Place | Folder) -> Folder:
    """The folder of a path or URI; a folder is taken as it is. Nothing is created.

    Raises:
        ValueError: runs cannot lie there.
        OSError: the object store cannot be set up, as when a bucket's region is asked for in vain.
    """
    if isinstance(place, Path):
        return LocalFolder(place)
    if not isinstance(place, str):
        return place
    require_place(place)
    if "://" not in place:
        return LocalFolder(Path(place))
    if place.startswith("file://"):
        return LocalFolder(Path(unquote(urlsplit(place).path)))
    from cognition.folders.object_store import ObjectFolder  # here: pyarrow's file systems take a third of a second

    return ObjectFolder.at(place)
