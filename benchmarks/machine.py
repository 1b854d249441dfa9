"""A result's file: its figures, and beside them what they were measured on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.commands.machine import cpu_name, machine

__all__ = ["RESULTS", "cpu_name", "machine", "write_result"]
RESULTS = Path(__file__).resolve().parent / "results"


def write_result(name: str, figures: Mapping[str, Any], folder: Path = RESULTS) -> Path:
    """Write figures with their machine to <folder>/<name>.json and return that path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), "figures": dict(figures)}, indent=1) + "\n")
    return path
