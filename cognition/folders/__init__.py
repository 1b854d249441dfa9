"""Folders of small files, on disk or in an object store: all that a run asks of the place where it lies."""

from cognition.folders.folder import Folder, Place, at_once, joined, read_json, with_region
from cognition.folders.local import LocalFolder
from cognition.folders.places import folder_at, require_place

__all__ = [
    "Folder",
    "LocalFolder",
    "Place",
    "at_once",
    "folder_at",
    "joined",
    "read_json",
    "require_place",
    "with_region",
]
