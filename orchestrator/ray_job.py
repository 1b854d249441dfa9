"""What is different for a driver that was submitted with `ray job submit`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_SUBMITTED = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # what Ray's job supervisor hands to the command that it starts


def require_lasting(key: str, place: str | None, environment: Mapping[str, str]) -> None:
    """Raise ValueError where what lies there would be lost with the job: it works in a copy of the submitted files."""
    if place is None or _SUBMITTED not in environment or "://" in place or Path(place).is_absolute():
        return
    raise ValueError(
        f"{key} is {place!r}, and this is a submitted Ray job, whose folder is a copy that Ray throws away: give "
        f"a place that outlives it, {key}=s3://BUCKET/PATH or an absolute path on the head's node"
    )
