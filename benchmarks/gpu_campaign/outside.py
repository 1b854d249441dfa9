"""The sandbox's tasks outside of any jail, each in a fresh interpreter: what trainings in the jail are compared with.

`python -m benchmarks.gpu_campaign.outside MODULE TASK DEVICE SOCKET FILE...` is such a process; files and socket are
descriptors. Only for sources that are trusted: published ones.
"""

from __future__ import annotations

import importlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

from models.data import layout_of, load_corpus
from models.sandbox import wire
from models.sandbox.child import Channel, run
from models.sandbox.layer import Device
from models.sandbox.sealed import expect, talking
from models.sandbox.wire import Array, Json
from models.scale import TEXT
from models.trial import TrialJob

TASKS = "models.sandbox.tasks"
_THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
_MOST_BYTES = 8 << 30


class Spawner(Protocol):
    """A fork server, or what stands outside of it."""

    def spawn(
        self, task: str, body: Mapping[str, Json], *, fds: Sequence[int] = (), deadline_s: float
    ) -> AbstractContextManager[Any]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a plain process ended."""

    how: str
    with_server: bool = False
    by_outsider: bool = False
    cause: None = None

    def describe(self) -> str:
        return self.how


class Plain:
    """A process with a task, without a jail: spoken with like a sandbox's child."""

    def __init__(self, process: subprocess.Popen[bytes], connection: socket.socket, deadline: float) -> None:
        self._process, self._connection, self._deadline = process, connection, deadline

    def send(
        self, kind: str, body: Mapping[str, Json] | None = None, arrays: Mapping[str, Array] | None = None
    ) -> None:
        wire.send(self._connection, kind, body, arrays, deadline=self._deadline)

    def receive(self, *, max_array_bytes: int = 0, timeout_s: float | None = None) -> wire.Message:
        deadline = self._deadline if timeout_s is None else min(self._deadline, time.monotonic() + timeout_s)
        return wire.receive(self._connection, max_array_bytes=max_array_bytes, deadline=deadline)

    def kill(self) -> Ended:
        self._process.kill()
        return Ended(how=f"the process outside of the jail ended with {self._process.wait()}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """Spawns tasks of a module as plain processes, with these variables more."""

    device: Device
    tasks: str = TASKS
    variables: Mapping[str, str] = field(default_factory=dict)

    @contextmanager
    def spawn(
        self, task: str, body: Mapping[str, Json], *, fds: Sequence[int] = (), deadline_s: float
    ) -> Iterator[Plain]:
        ours, theirs = socket.socketpair()
        words = [self.tasks, task, self.device, str(theirs.fileno()), *map(str, fds)]
        with ours:
            with theirs:
                process = subprocess.Popen(
                    [sys.executable, "-m", "benchmarks.gpu_campaign.outside", *words],
                    pass_fds=(theirs.fileno(), *fds),
                    stdin=subprocess.DEVNULL,
                    env={**os.environ, **_THREADS, **self.variables},
                    cwd=Path(__file__).resolve().parents[2],
                )
            plain = Plain(process, ours, time.monotonic() + deadline_s)
            try:
                plain.send("start", body)
                yield plain
            finally:
                plain.kill()


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A training on text as its parent saw it."""

    steps: tuple[int, ...]
    losses: tuple[float, ...]
    seconds: tuple[float, ...]  # per step, between neighbouring points: what comes before the first is start-up
    peak_gb: float


def train_text(spawner: Spawner, job: TrialJob) -> Curve:
    """Train on the text alone, by the same task, batches and seed wherever it is spawned.

    The corpus has to be packed. Raises models.sandbox.sealed.TrialError.
    """
    tokens = load_corpus(job.data).train
    told: dict[str, Any] = _told(job) | {"text": layout_of(tokens)}
    points: list[tuple[int, float, float]] = []
    peak_bytes = 0
    with (
        tokens.lent() as fds,
        talking(
            lambda task, body: spawner.spawn(task, body, fds=fds, deadline_s=job.stage.deadline_s), "train", told
        ) as child,
    ):
        expect(child, "prepared")
        expect(child, "begun")
        while (message := expect(child, "point", "weights", max_array_bytes=_MOST_BYTES)).kind == "point":
            points.append((message.integer("step"), message.real("loss"), time.monotonic()))
            peak_bytes = max(peak_bytes, message.optional_integer("peak_bytes") or 0)
    return Curve(
        steps=tuple(step for step, _, _ in points),
        losses=tuple(loss for _, loss, _ in points),
        seconds=tuple((later[2] - earlier[2]) / (later[0] - earlier[0]) for earlier, later in pairwise(points)),
        peak_gb=round(peak_bytes / 1e9, 2),
    )


def _told(job: TrialJob) -> dict[str, Any]:
    """What a training child is told, as models.trial tells it."""
    return {
        "source": job.source,
        "slot": job.slot,
        "stage": asdict(job.stage),
        "seed": job.seed,
        "device": job.device,
        "card_share": job.card_share,
        "tasks": [TEXT],
        "save_every_s": None,
        "resumes": False,
    }


def main(arguments: list[str]) -> None:
    """Such a process."""
    module_name, task, device, connection, *handed = arguments
    module = importlib.import_module(module_name)
    module.warm_up(device)
    run(module.TASKS[task], Channel(socket.socket(fileno=int(connection)), tuple(map(int, handed))))


if __name__ == "__main__":
    main(sys.argv[1:])
