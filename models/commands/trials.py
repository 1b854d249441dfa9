"""Trials side by side on one machine, without Ray: a thread and a fork server for each, children do the work."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from cognition.records import Metric, Trial
from models.sandbox.layer import Device
from models.sandbox.settings import SandboxSettings
from models.trial import TrialJob, TrialRun


def require_device(device: Device) -> None:
    """ValueError for a GPU that torch does not see; torch is imported for that question alone."""
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise ValueError("--device is cuda, and torch sees no CUDA device: use cpu")


def require_backend() -> None:
    """ValueError where KERNELS_BACKEND names what is no backend; kernels and torch are imported where it is set."""
    text = os.environ.get("KERNELS_BACKEND")
    if text:
        from kernels.rule import BACKEND_VARIABLE, BACKENDS

        for name in (name.strip() for name in text.split(",")):
            if name not in BACKENDS:
                known = ", ".join(BACKENDS)
                raise ValueError(
                    f"{BACKEND_VARIABLE}={text!r}: {name!r} is no backend: use some of {known}, or unset it"
                )


@dataclass(frozen=True, slots=True)
class _Broken:
    error: BaseException


def run_trials(
    jobs: Sequence[TrialJob],
    *,
    workers: int,
    sandbox: SandboxSettings,
    device: Device = "cpu",
    on_point: Callable[[TrialJob, Metric], None] | None = None,
) -> Iterator[tuple[TrialJob, Trial]]:
    """Each job with its trial, in the order in which they end. Abandoning the iterator ends what still runs.

    Raises what a trial cannot start without: ValueError for data or stage, SandboxError for the sandbox.
    """
    waiting: queue.SimpleQueue[TrialJob] = queue.SimpleQueue()
    for job in jobs:
        waiting.put(job)
    done: queue.SimpleQueue[tuple[TrialJob, Trial] | _Broken] = queue.SimpleQueue()
    crew = [_Worker(waiting, done, sandbox, device, on_point) for _ in range(min(workers, len(jobs)))]
    for worker in crew:
        worker.start()
    try:
        for _ in jobs:
            answer = done.get()
            if isinstance(answer, _Broken):
                raise answer.error
            yield answer
    finally:
        for worker in crew:
            worker.give_up()
        for worker in crew:
            worker.join()


class _Worker(threading.Thread):
    def __init__(
        self,
        waiting: queue.SimpleQueue[TrialJob],
        done: queue.SimpleQueue[tuple[TrialJob, Trial] | _Broken],
        sandbox: SandboxSettings,
        device: Device,
        on_point: Callable[[TrialJob, Metric], None] | None,
    ) -> None:
        super().__init__(daemon=True)
        self._waiting, self._done = waiting, done
        self._sandbox, self._device, self._on_point = sandbox, device, on_point
        self._lock = threading.Lock()
        self._run: TrialRun | None = None
        self._given_up = False

    def give_up(self) -> None:
        with self._lock:
            self._given_up = True
            run = self._run
        if run is not None:
            run.cancel()

    def run(self) -> None:
        try:
            with self._sandbox.fork_server(self._device) as server:
                while not self._given_up:
                    job = self._waiting.get_nowait()
                    with self._lock:
                        self._run = TrialRun(job, server)
                    self._done.put((job, self._follow(job, self._run)))
        except queue.Empty:
            pass
        except BaseException as error:  # noqa: BLE001 - a thread's boundary: raised again where it is waited for
            self._done.put(_Broken(error))

    def _follow(self, job: TrialJob, run: TrialRun) -> Trial:
        while True:
            if self._given_up:
                run.cancel()
            step = run.advance()
            if isinstance(step, Trial):
                return step
            if self._on_point is not None:
                self._on_point(job, step)
