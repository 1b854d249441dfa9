"""One Ray for all tests of this room, and one campaign that nothing happens to."""

from __future__ import annotations

import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def ray_here() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ray

        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def undisturbed(ray_here: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small campaign without a fault: its rows are what every fault has to end with."""
    from tests.orchestrator.small import run

    folder = tmp_path_factory.mktemp("runs") / "undisturbed"
    assert run(folder).stopped_by is None
    return folder


@pytest.fixture
def scratch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the workers of the cluster keep their scratch, by which their fork servers are known."""
    folder = Path(tempfile.mkdtemp(prefix="h-", dir="/tmp"))
    folder.chmod(0o711)  # children of the jail are another user
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
