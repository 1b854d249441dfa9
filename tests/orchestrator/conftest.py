"""One Ray for all tests of this room, and one campaign that nothing happens to."""

from __future__ import annotations

import logging
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
