"""Our top-level names beside other people's: `agents` and `kernels` are import names of theirs too."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
THEIRS = """
import transformers
import fla
import kernels
print(transformers.__file__, fla.__file__, kernels.__file__, sep="\\n")
"""


@pytest.mark.skipif(importlib.util.find_spec("fla") is None, reason="flash-linear-attention is not installed")
def test_fla_and_transformers_import_from_the_repository_root() -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONWARNINGS")}
    asked = subprocess.run(
        [sys.executable, "-c", THEIRS], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200
    )
    assert asked.returncode == 0, asked.stderr
    *theirs, ours = (Path(line) for line in asked.stdout.splitlines()[-3:])
    assert not any((ROOT / name) in path.parents for path in theirs for name in ("agents", "kernels", "models"))
    assert ours == ROOT / "kernels" / "__init__.py", "the names do clash here"


def test_the_version_is_none_that_transformers_takes_for_the_kernels_distribution() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    major, minor = (int(part) for part in project["version"].split(".")[:2])
    assert (major, minor) != (0, 18), f"version {project['version']}: transformers looks for kernels in [0.18, 0.19)"
    assert project["name"] not in ("agents", "kernels")


def test_every_package_of_ours_is_listed_by_name() -> None:
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"])
    top = {name.split(".")[0] for name in listed}
    assert top == {"orchestrator", "agents", "models", "kernels", "cognition"}
    found = {
        path.parent.relative_to(ROOT).as_posix().replace("/", ".")
        for name in top
        for path in (ROOT / name).rglob("__init__.py")
    }
    assert listed == found
