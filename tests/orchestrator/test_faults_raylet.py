"""A node of the cluster goes: its trials and actors go to others, and the ledger is an undisturbed campaign's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.orchestrator.processes import campaign, gone
from tests.orchestrator.small import SMALL, events, ledger, trials


@pytest.fixture
def cluster(scratch: Path) -> Iterator[Any]:
    """A head without CPUs, so that every trial runs on one of the two workers."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, connect=False, head_node_args={"num_cpus": 0, "include_dashboard": False})
    yield made
    made.shutdown()


def test_a_killed_raylet_takes_nothing_along_that_is_not_done_again(
    undisturbed: Path, cluster: Any, tmp_path: Path
) -> None:
    """Where the ledger was on that node the campaign ends, in one line, and the same command goes on."""
    workers = [cluster.add_node(num_cpus=1) for _ in range(2)]
    folder = tmp_path / "raylet"
    for start in range(3):
        with campaign(folder, *SMALL, f"cluster.address={cluster.address}") as running:
            if start == 0:
                running.wait_for(lambda: len(trials(folder)) >= 2, timeout_s=600)
                cluster.remove_node(workers[0], allow_graceful=False)
            code, told = running.end(timeout_s=600)
            over = bool(events(folder, "campaign_finished"))
            assert (code, "Traceback" in told) == (0 if over else os.EX_TEMPFAIL, False), told
            assert not gone(running.all())
        if over:
            break
    assert ledger(folder) == ledger(undisturbed)
    assert len({trial.trial_id for trial in trials(folder)}) == len(trials(folder))
