"""A campaign in processes of its own, which of them are whose, and how to kill them.

Fork servers are nobody's children. They are known by their scratch folder, which lies in the TMPDIR that the campaign
was given: two campaigns side by side do not see each other's.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
RAYS_OWN = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")  # they notice within a minute that their raylet is gone
_SERVER = "models.sandbox.server"


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A campaign's driver, and the folder in which everything it starts keeps its scratch."""

    driver: subprocess.Popen[str]
    scratch: Path

    def all(self) -> list[psutil.Process]:
        """The driver's descendants and the fork servers with their children."""
        with contextlib.suppress(psutil.NoSuchProcess):
            known = {*psutil.Process(self.driver.pid).children(recursive=True), *servers_in(self.scratch)}
            return [process for process in known if _name(process) not in RAYS_OWN]
        return servers_in(self.scratch)

    def of_kind(self, kind: str) -> list[psutil.Process]:
        """Processes to kill: "child" (of a fork server), "server", "driver", or what Ray calls an actor."""
        if kind == "driver":
            return [psutil.Process(self.driver.pid)]
        if kind == "server":
            return [process for process in servers_in(self.scratch) if not _is_child(process)]
        if kind == "child":
            return [process for process in servers_in(self.scratch) if _is_child(process)]
        if kind == "raylet":
            return [process for process in self.all() if _name(process) == "raylet"]
        # While a call runs, Ray adds the method to the process's title.
        return [process for process in self.all() if _name(process).startswith(f"ray::{kind}")]

    def wait_for(self, condition: Callable[[], bool], timeout_s: float = 200) -> None:
        """Until it holds; the driver has to live meanwhile."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert self.driver.poll() is None, self.driver.communicate()[1]
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.05)

    def end(self, timeout_s: float = 200) -> tuple[int, str]:
        """Wait for its own end: exit code, and what it wrote to stderr."""
        _, told = self.driver.communicate(timeout=timeout_s)
        return self.driver.returncode, told


@contextlib.contextmanager
def campaign(folder: Path, *overrides: str, environment: dict[str, str] | None = None) -> Iterator[Running]:
    """`python -m orchestrator` on that folder; whatever is left of it at the end is killed."""
    scratch = Path(tempfile.mkdtemp(prefix="c-", dir="/tmp"))  # short: Ray's sockets would not fit otherwise
    driver = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", f"run.root={folder.parent}", f"run.name={folder.name}", *overrides],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(scratch), "RAY_TMPDIR": "/tmp", **(environment or {})},
    )
    running = Running(driver=driver, scratch=scratch)
    try:
        yield running
    finally:
        left = running.all()
        for process in [*left, *running.of_kind("driver")] if driver.poll() is None else left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        driver.wait()
        assert driver.stderr is not None
        driver.stderr.close()
        psutil.wait_procs(left, timeout=100)
        shutil.rmtree(scratch, ignore_errors=True)


def servers_in(scratch: Path) -> list[psutil.Process]:
    """Fork servers of that folder, and what they forked: it has their command line."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if _SERVER in words and any(word.startswith(f"{scratch}/") for word in words):
            found.append(process)
    return found


def kill(processes: Sequence[psutil.Process], rng: random.Random) -> psutil.Process | None:
    """SIGKILL to one of them; None where there is none, or it ended by itself."""
    if not processes:
        return None
    chosen = rng.choice(sorted(processes, key=lambda process: process.pid))
    try:
        chosen.kill()
    except psutil.NoSuchProcess:
        return None
    return chosen


def kill_at_work(running: Running, kind: str, rng: random.Random) -> psutil.Process | None:
    """SIGKILL to one of that kind, in the middle of a call: stopped first, since it could be done with it meanwhile."""
    processes = running.of_kind(kind)
    if not processes:
        return None
    chosen = rng.choice(sorted(processes, key=lambda process: process.pid))
    with contextlib.suppress(psutil.NoSuchProcess):
        chosen.suspend()
        while chosen.status() not in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE):
            time.sleep(0.001)
        if chosen in running.of_kind(kind):
            chosen.kill()
            return chosen
        chosen.resume()
    return None


def gone(processes: Sequence[psutil.Process], timeout_s: float = 60) -> Sequence[str]:
    """Who is left of them after the time-out, told so that one can see whose it is."""
    _, alive = psutil.wait_procs(processes, timeout=timeout_s)
    return [_described(process) for process in alive]


def _is_child(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = process.parent()
        return parent is not None and _SERVER in " ".join(parent.cmdline())
    return False


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""


def _described(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error, OSError):
        stack = Path(f"/proc/{process.pid}/stack").read_text() if os.geteuid() == 0 else ""
        return f"{process.pid} of {process.ppid()}, {process.status()}: {process.cmdline()[:5]} {stack}"
    return f"{process.pid}, gone by now"
