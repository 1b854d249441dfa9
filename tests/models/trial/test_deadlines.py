"""Hostile loops, cancellation, processes."""

import threading

import pytest

from cognition.records import FailureKind, TrialStatus
from models.data import DataSpec
from models.sandbox.parent import ForkServer
from models.trial import TrialRun

from .conftest import LINUX, STRAY, await_no_strays, await_strays, finish, job, run_trial, with_forward

HOSTILE_LOOPS = {
    "loops": with_forward("rename()", "while True: time.sleep(0.01)"),
    "ignores SIGTERM": with_forward(
        "rename()", "signal.signal(signal.SIGTERM, signal.SIG_IGN)", "while True: time.sleep(0.01)"
    ),
    "leaves its session": with_forward(
        "rename()",
        "for _ in range(3):",
        "    if os.fork() == 0:",
        "        os.setsid()",
        "        if os.fork(): os._exit(0)",
        "        signal.signal(signal.SIGTERM, signal.SIG_IGN)",
        "        while True: time.sleep(0.01)",
        "while True: time.sleep(0.01)",
    ),
}
RENAME = f"def rename(): ctypes.CDLL(None).prctl(15, {STRAY.encode()!r}, 0, 0, 0)\n"


@LINUX
@pytest.mark.parametrize(
    ("name", "jail"),
    [("loops", "server"), ("ignores SIGTERM", "server"), ("leaves its session", "cuda_server")],
)
def test_a_deadline_ends_the_trial_and_every_descendant(
    name: str, jail: str, data: DataSpec, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue(jail)
    run = TrialRun(job(data, RENAME + HOSTILE_LOOPS[name], deadline_s=8.0), server)
    seen = threading.Thread(target=await_strays, args=(4 if name == "leaves its session" else 1,))
    seen.start()
    _, trial = finish(run)
    seen.join()
    assert trial.failure is FailureKind.timeout, trial.detail
    await_no_strays()


@LINUX
def test_cancel_from_another_thread_ends_the_trial_at_once(cuda_server: ForkServer, data: DataSpec) -> None:
    run = TrialRun(job(data, RENAME + HOSTILE_LOOPS["leaves its session"], deadline_s=3_600.0), cuda_server)

    def cancel() -> None:
        await_strays(4)
        run.cancel()

    canceller = threading.Thread(target=cancel)
    canceller.start()
    _, trial = finish(run)
    canceller.join()
    assert (trial.status, trial.failure) == (TrialStatus.failed, FailureKind.cancelled)
    await_no_strays()


@LINUX
def test_a_candidate_that_starts_processes_on_the_cpu_is_refused_them(server: ForkServer, data: DataSpec) -> None:
    _, trial = run_trial(server, job(data, with_forward("os.fork()")))
    assert trial.failure is FailureKind.error, trial.detail
    assert "PermissionError" in trial.detail
