"""The head of the cluster goes: the campaign ends within a minute, leaves nothing running, and goes on elsewhere."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from cognition.reader import Reader
from cognition.records import Event
from orchestrator.head import until_lost
from tests.orchestrator.processes import campaign, gone, servers_in
from tests.orchestrator.small import SMALL, ledger, run, trials


@pytest.fixture
def cluster(scratch: Path) -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, connect=False, head_node_args={"num_cpus": 2, "include_dashboard": False})
    yield made
    made.shutdown()


def process_of(cluster: Any, kind: str) -> psutil.Process:
    return psutil.Process(cluster.head_node.all_processes[kind][0].process.pid)


def of_the_campaign(cluster: Any, scratch: Path) -> list[psutil.Process]:
    """Its actors, the hosts of its trials and their fork servers."""
    workers = process_of(cluster, "raylet").children(recursive=True)
    return [w for w in workers if w.name().startswith("ray::") and ("Actor" in w.name() or "Host" in w.name())] + (
        servers_in(scratch)
    )


@pytest.mark.nightly
def test_a_lost_head_is_a_clean_end_and_another_ray_takes_up(
    undisturbed: Path, cluster: Any, scratch: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "headless"
    joined = (f"cluster.address={cluster.address}", "cluster.head_patience_s=12")  # a busy head is no lost one
    with campaign(folder, *SMALL, *joined) as running:
        running.wait_for(lambda: len(trials(folder)) >= 2, timeout_s=600)
        own = of_the_campaign(cluster, scratch)
        assert len(own) >= 5
        process_of(cluster, "gcs_server").kill()
        code, told = running.end()  # a driver that Ray had to end after a minute has code 1
        assert (code, "Traceback" in told) == (os.EX_TEMPFAIL, False), told
        assert not gone([*own, *running.all()], timeout_s=200)
    last = Reader(folder).rows(Event)[-1]
    assert last.kind == "campaign_stopped"
    assert last.detail.startswith(f"the head of the Ray cluster at {cluster.address} has not answered")

    kept = {trial.trial_id for trial in trials(folder)}
    assert run(folder).stopped_by is None
    assert ledger(folder) == ledger(undisturbed)
    assert len(kept) >= 2
    assert len({trial.trial_id for trial in trials(folder)}) == len(trials(folder))


SERVER = """
import socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    connection, _ = listener.accept()
    if sys.argv[1] == "speaks":
        connection.recv(9)
        connection.sendall(bytes(9))
    print("met", flush=True)
"""


@pytest.mark.parametrize("kind", ["speaks", "says nothing"])
@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_head_is_lost_when_it_has_ended_or_hangs(
    kind: str, fault: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.head._TIMEOUT_S", 4.0)
    if kind == "says nothing" and fault is signal.SIGSTOP:
        pytest.skip("what never says anything looks the same when it hangs")
    server = subprocess.Popen([sys.executable, "-c", SERVER, kind], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        address = f"127.0.0.1:{server.stdout.readline().strip()}"
        watch = asyncio.create_task(until_lost(address, patience_s=5.0))
        for _ in range(3):
            assert await asyncio.to_thread(server.stdout.readline) == "met\n"
        assert not watch.done()
        server.send_signal(fault)
        assert address in await watch
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
