"""What a campaign was made with: versions, git revision, hashes of data and code, and what confines its candidates."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from cognition.records import Report
from models.sandbox.layer import Layer
from orchestrator.config import Settings

_ROOT = Path(__file__).resolve().parent.parent
_ROOMS = ("orchestrator", "agents", "models", "kernels", "cognition", "conf")
_PACKAGES = ("ray", "torch", "numpy", "duckdb", "pyarrow", "hydra-core", "wandb", "triton", "flash-linear-attention")


def facts_of(settings: Settings, corpus_digest: str) -> dict[str, Any]:
    """Facts for config.yaml; never compared, so that an upgrade does not lock a campaign out."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": versions(),
        "git_revision": _git_revision(),
        "code_digest": code_digest(),
        "data": {"source": settings.data.source, "tokenizer": settings.data.tokenizer, "digest": corpus_digest},
    }


def in_words(layers: Sequence[Layer]) -> str:
    """Which layers of the jail are in force, and what is missing of the others and why."""
    held = ", ".join(layer.name for layer in layers if layer.in_force)
    missing = "; ".join(f"{layer.name} missing ({layer.detail})" for layer in layers if not layer.in_force)
    return f"{held}; {missing}" if missing else held


def figures_of(report: Report) -> str:
    """A report's properties as JSON, for an event's detail."""
    return json.dumps({"kind": report.kind.value, "properties": [asdict(item) for item in report.properties]})


def versions() -> dict[str, str | None]:
    """Of the packages that results depend on, as installed here; None: it is not."""
    return {name: _version(name) for name in _PACKAGES}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _git_revision() -> str | None:
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=_ROOT, capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()


def code_digest() -> str:
    """Of the project's own files."""
    digest = hashlib.sha256()
    for room in _ROOMS:
        for path in sorted((_ROOT / room).rglob("*")):
            if path.suffix in (".py", ".yaml", ".sql", ".md"):
                digest.update(path.relative_to(_ROOT).as_posix().encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
