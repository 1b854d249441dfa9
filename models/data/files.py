"""Which files a source consists of, and in which order they are read. Nothing is opened here."""

from __future__ import annotations

import hashlib
import sysconfig
from pathlib import Path

from models.data.spec import RECORD_SUFFIXES, STDLIB, TEXT_SUFFIXES, DataSpec

_SKIPPED_FOLDERS = frozenset({"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"})


def source_files(spec: DataSpec) -> dict[str, Path]:
    """Files by relative name, in an order drawn by hash and seed, so that a cap keeps a fair sample of them.

    Raises:
        ValueError: the folder or file is missing, or holds no text.
    """
    root = _root(spec)
    if root.is_file():
        return {root.name: root}
    if spec.source == STDLIB:
        paths = [path for path in root.rglob("*.py") if not _SKIPPED_FOLDERS.intersection(path.relative_to(root).parts)]
    else:
        suffixes = (*TEXT_SUFFIXES, *RECORD_SUFFIXES)
        paths = [path for path in root.rglob("*") if path.name.endswith(suffixes) and path.is_file()]
    if not paths:
        raise ValueError(
            f"data.source {spec.source!r} holds 0 text files ({root}); it needs some of "
            f"{', '.join((*TEXT_SUFFIXES, *RECORD_SUFFIXES))}, better 100, or large ones cut up ('split -n l/100 FILE')"
        )
    named = {path.relative_to(root).as_posix(): path for path in paths}
    return {name: named[name] for name in sorted(named, key=lambda name: rank("cap", name, spec.seed))}


def rank(purpose: str, name: str, seed: int) -> bytes:
    """Where a name stands in an order that its purpose and the seed draw."""
    return hashlib.sha256(f"{purpose}/{seed}/{name}".encode()).digest()


def unreadable(path: Path, error: Exception) -> ValueError:
    """The error for a file that is there and cannot be read."""
    reason = getattr(error, "strerror", None) or error
    return ValueError(f"{path} cannot be read ({reason}): mend it or its permissions, or take it out of the source")


def _root(spec: DataSpec) -> Path:
    root = Path(sysconfig.get_path("stdlib")) if spec.source == STDLIB else Path(spec.source).expanduser()
    if not root.exists():
        raise ValueError(
            f"data.source {spec.source!r} is no folder and no file ({root}); give one, 'hf:NAME' or 'stdlib'"
        )
    return root
