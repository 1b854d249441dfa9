"""Files that commands leave: known to be writable before anything is trained for them."""

from __future__ import annotations

import json
from pathlib import Path


def require_writable(path: Path | None) -> None:
    """Make the folder and touch the file; nothing for None. Raises ValueError where that cannot be done."""
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a"):
            pass
    except OSError as error:
        raise ValueError(f"{path} cannot be written ({error.strerror}): name another file") from error


def write_json(path: Path | None, value: object) -> None:
    """The value as JSON; nothing for None."""
    if path is not None:
        path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
