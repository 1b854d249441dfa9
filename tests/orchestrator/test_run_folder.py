"""The run folder: one owner, one configuration, nothing foreign."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from orchestrator.errors import UsageError
from orchestrator.lease import LEASE
from orchestrator.run_folder import RunFolder, fresh_path

CONFIG = {"seed": 0, "budget": {"candidates": 4}, "scale": {"stages": [{"name": "explore", "steps": 5}]}}

HOLD = """
import sys, time
from pathlib import Path
from orchestrator.run_folder import RunFolder
folder = RunFolder(Path(sys.argv[1]))
folder.claim({config!r}, {{}}, time.time())
print("held", flush=True)
time.sleep(600)
"""


def hold_elsewhere(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD.format(config=CONFIG), str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def test_a_second_driver_is_refused_and_told_who_drives(tmp_path: Path) -> None:
    process = hold_elsewhere(tmp_path / "run")
    try:
        with pytest.raises(UsageError, match=rf"process {process.pid} .*orchestrator\.stop"):
            RunFolder(tmp_path / "run").claim(CONFIG, {}, time.time())
        holder = RunFolder(tmp_path / "run").holder(time.time())
        assert holder is not None
        assert holder.pid == process.pid
    finally:
        end(process)


def test_the_lease_of_a_killed_driver_is_taken_over(tmp_path: Path) -> None:
    end(hold_elsewhere(tmp_path / "run"))
    assert (tmp_path / "run" / LEASE).exists()
    folder = RunFolder(tmp_path / "run")
    assert folder.holder(time.time()) is None
    folder.claim(CONFIG, {}, time.time())
    folder.release()
    assert not (tmp_path / "run" / LEASE).exists()


@pytest.mark.parametrize("beats", [True, False])
def test_without_locks_a_heartbeat_decides_whatever_the_clock_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beats: bool
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("orchestrator.lease.fcntl.flock", no_locks)
    monkeypatch.setattr("orchestrator.lease.STALE_AFTER_S", 6.0)
    monkeypatch.setattr("orchestrator.lease._LOOK_S", 0.05)
    monkeypatch.setattr("orchestrator.lease.socket.gethostname", lambda: "elsewhere")
    driver = RunFolder(tmp_path / "run")
    driver.claim(CONFIG, {}, 0.0)
    monkeypatch.setattr("orchestrator.lease.socket.gethostname", lambda: "here")
    hours = 5 * 3600.0
    ended = threading.Event()

    def beat() -> None:
        while beats and not ended.wait(0.1):
            driver.beat(time.time())

    beating = threading.Thread(target=beat)
    beating.start()
    other = RunFolder(tmp_path / "run")
    try:
        if beats:
            with pytest.raises(UsageError, match="is being driven by"):
                other.claim(CONFIG, {}, time.time() + hours)
        else:
            other.claim(CONFIG, {}, -hours)
    finally:
        ended.set()
        beating.join()
        other.release()
        driver.release()


def test_a_heartbeat_needs_no_room_and_leaves_the_text_whole(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.claim(CONFIG, {}, 1.0)
    size = (tmp_path / "run" / LEASE).stat().st_size
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for now in (1e9, 2.0):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            folder.beat(now)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        holder = folder.holder(now)
        assert holder is not None
        assert (holder.pid, holder.beat) == (os.getpid(), now)
    assert (tmp_path / "run" / LEASE).stat().st_size == size
    folder.release()


def test_another_configuration_is_refused_with_what_differs(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.claim(CONFIG, {}, 1.0)
    folder.release()
    other = {**CONFIG, "scale": {"stages": [{"name": "explore", "steps": 9}]}}
    with pytest.raises(UsageError, match=r"scale\.stages\.0\.steps was 5, now 9"):
        RunFolder(tmp_path / "run").claim(other, {}, 2.0)
    again = RunFolder(tmp_path / "run")
    again.claim(CONFIG, {}, 3.0)  # the refusal gave the lease back
    again.release()


def test_a_larger_budget_is_the_same_campaign(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.claim(CONFIG, {}, 1.0)
    folder.release()
    longer = RunFolder(tmp_path / "run")
    longer.claim({**CONFIG, "budget": {"candidates": 9}}, {}, 2.0)
    longer.release()


def test_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match=r"thesis\.tex"):
        RunFolder(tmp_path).claim(CONFIG, {}, 1.0)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_unwritable_place_is_named(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("not a folder")
    with pytest.raises(UsageError, match=r"run\.root"):
        RunFolder(blocker / "run").claim(CONFIG, {}, 1.0)
    if os.geteuid() != 0:
        tmp_path.chmod(0o500)
        with pytest.raises(UsageError, match="cannot be written"):
            RunFolder(tmp_path / "run").claim(CONFIG, {}, 1.0)


def test_fresh_never_touches_an_existing_folder(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run-2").mkdir()
    assert fresh_path(tmp_path / "run") == tmp_path / "run-3"
    assert fresh_path(tmp_path / "new") == tmp_path / "new"


def test_a_file_uri_is_a_path(tmp_path: Path) -> None:
    folder = RunFolder(f"file://{tmp_path}/run")
    folder.claim(CONFIG, {}, 1.0)
    folder.release()
    assert (folder.place, folder.scratch) == (tmp_path / "run", tmp_path / "run")
    assert RunFolder.existing(tmp_path / "run").settings() == CONFIG
    assert fresh_path(f"file://{tmp_path}/run") == f"file://{tmp_path}/run-2"


def test_status_and_stop_need_a_campaigns_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no config\.yaml"):
        RunFolder.existing(tmp_path)


@pytest.mark.parametrize(
    ("key", "allowed"),
    [
        ("llm.models.served.api_base", True),
        ("llm.models.served.price.input", True),
        ("llm.retries.num", True),
        ("llm.models.served.model", False),
        ("llm.roles.judge.temperature", False),
        ("budget.usd", True),
        ("seed", False),
    ],
)
def test_what_concerns_reaching_a_model_may_change_between_two_starts(tmp_path: Path, key: str, allowed: bool) -> None:
    def settings(value: int) -> dict[str, object]:
        nested: dict[str, object] = {key.rsplit(".", 1)[-1]: value}
        for part in reversed(key.split(".")[:-1]):
            nested = {part: nested}
        return nested

    folder = RunFolder(tmp_path / "run")
    folder.claim(settings(1), {}, 0.0)
    folder.release()
    if allowed:
        folder.claim(settings(2), {}, 0.0)
        folder.release()
    else:
        with pytest.raises(UsageError, match="was 1, now 2"):
            folder.claim(settings(2), {}, 0.0)
