"""Raylets that `ray start` starts on this machine, as a person would, in folders and on ports of their own."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
RAY = Path(sys.executable).with_name("ray")
_PATIENCE_S = 300


@dataclass(slots=True, kw_only=True)
class Raylets:
    """A cluster of one head and what is started beside it."""

    folder: Path
    port: int
    dashboard_port: int

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self, name: str, *options: str, environment: Mapping[str, str] | None = None) -> None:
        """`ray start` with those options; returns when the node has joined."""
        fixed = (f"--temp-dir={self.folder / name}", "--dashboard-agent-listen-port=0", "--disable-usage-stats")
        started = subprocess.run(
            [str(RAY), "start", *options, *fixed],
            env={**bare(), **(environment or {})},
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
        )
        assert started.returncode == 0, started.stdout + started.stderr

    def takes_jobs(self) -> bool:
        """Whether the dashboard answers, which comes after `ray start` on a busy machine."""
        return self.job("list").returncode == 0

    def job(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`ray job ...`, as on a terminal."""
        return subprocess.run(
            [str(RAY), "job", *words],
            cwd=ROOT,
            env={**bare(), "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{self.dashboard_port}"},
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
        )


@contextlib.contextmanager
def raylets() -> Iterator[Raylets]:
    """A head without CPUs, and a folder that goes with it. Whatever is left of it at the end is killed."""
    folder = Path(tempfile.mkdtemp(prefix="r-", dir="/tmp"))  # short: Ray's sockets lie in it
    folder.chmod(0o711)  # children of the jail are another user
    gcs, dashboard, client = free_ports(3)
    cluster = Raylets(folder=folder, port=gcs, dashboard_port=dashboard)
    try:
        ports = (f"--port={gcs}", f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}")
        cluster.start("head", "--head", "--num-cpus=0", *ports)
        wait_for(cluster.takes_jobs, told=lambda: "the dashboard does not answer")
        yield cluster
    finally:
        end(mentioning(folder))
        shutil.rmtree(folder, ignore_errors=True)


def bare() -> dict[str, str]:
    """The environment without what names another Ray, with this repository's packages and commands first."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    path = os.pathsep.join([str(RAY.parent), kept.get("PATH", "")])
    return {**kept, "PATH": path, "PYTHONPATH": str(ROOT), "RAY_memory_monitor_refresh_ms": "0"}


def free_ports(num: int) -> list[int]:
    """Ports below those that the system gives out by itself, and above those that Ray gives its workers."""
    found: list[int] = []
    with ExitStack() as held:
        for port in range(20_001 + os.getpid() % 5_000, 32_000):
            with contextlib.suppress(OSError):
                taken = socket.socket()
                held.enter_context(taken)
                taken.bind(("0.0.0.0", port))
                found.append(port)
            if len(found) == num:
                return found
    raise AssertionError("no ports are free")


def wait_for(condition: Callable[[], bool], told: Callable[[], str], alive: Callable[[], bool] = lambda: True) -> None:
    """Until it holds; `told` says what is known where it does not, or whoever has to live does not."""
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        assert alive(), told()
        assert time.monotonic() < deadline, f"waited in vain: {told()}"
        time.sleep(0.5)


def mentioning(folder: Path) -> Sequence[psutil.Process]:
    """Processes that were started with something in that folder."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any(str(folder) in word for word in process.info["cmdline"] or []) and process.pid != os.getpid():
            found.append(process)
    return found


def end(processes: Sequence[psutil.Process]) -> None:
    """Kill them; agents of Ray notice by themselves that their raylet is gone."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=60)
