"""What is different for a driver that was submitted with `ray job submit`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_SUBMITTED = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # what Ray's job supervisor hands to the command that it starts


def require_lasting(root: str, environment: Mapping[str, str]) -> None:
    """Raise ValueError where runs would be lost with the job: it works in a copy of the submitted files."""
    if _SUBMITTED in environment and "://" not in root and not Path(root).is_absolute():
        raise ValueError(
            f"run.root is {root!r}, and this is a submitted Ray job, whose folder is a copy that Ray throws away: give "
            "a place that outlives it, run.root=s3://BUCKET/PATH or an absolute path on the head's node"
        )
