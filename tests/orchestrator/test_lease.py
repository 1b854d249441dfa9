"""The lease of a run folder in an object store: one driver, whoever dies, freezes or comes at the same time."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from cognition.folders import folder_at
from orchestrator import lease as module
from orchestrator.errors import UsageError
from orchestrator.lease import LEASE, ObjectLease
from orchestrator.run_folder import RunFolder, fresh_path, wait_until_free
from tests.object_store import ObjectStore
from tests.orchestrator.test_run_folder import CONFIG, HOLD, end


@pytest.fixture
def uri(object_store: ObjectStore) -> str:
    return object_store.uri()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute takes six seconds, in the same proportions: a busy machine holds nothing up for as long."""
    for name, value in (
        *(("STALE_AFTER_S", 6.0), ("SURE_FOR_S", 3.6), ("_SETTLE_S", 0.3), ("_LOOK_S", 0.1)),
        *(("HEARTBEAT_S", 0.1),),
    ):
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr("orchestrator.run_folder.HEARTBEAT_S", 0.1)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From when it is called, what was written before is another machine's."""
    return lambda: monkeypatch.setattr(module, "_process", lambda pid: "")


def claimed(uri: str) -> RunFolder:
    folder = RunFolder(uri)
    folder.claim(CONFIG, {}, time.time())
    return folder


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def test_a_second_driver_is_refused_and_the_lease_of_a_killed_one_is_taken_over_at_once(uri: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD.format(config=CONFIG).replace("Path(sys.argv[1])", "sys.argv[1]"), uri],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        holder = RunFolder(uri).holder(time.time())
        assert holder is not None
        assert holder.pid == process.pid
        with pytest.raises(UsageError, match=rf"process {process.pid} .*orchestrator\.stop 's3://"):
            claimed(uri)
    finally:
        end(process)
    assert RunFolder(uri).holder(time.time()) is None
    folder = claimed(uri)
    assert folder.last_beat > 0
    folder.release()
    assert LEASE not in folder_at(uri).entries()


@pytest.mark.parametrize("beats", [True, False])
def test_a_heartbeat_of_another_machine_decides_whatever_its_clock_says(
    uri: str, quick: None, elsewhere: Callable[[], None], beats: bool
) -> None:
    driver = RunFolder(uri)
    driver.claim(CONFIG, {}, 0.0)
    elsewhere()
    if not beats:
        driver._let_go.set()  # frozen: it holds, and says nothing
    other = RunFolder(uri)
    try:
        if beats:
            with pytest.raises(UsageError, match="is being driven by"):
                other.claim(CONFIG, {}, time.time() + 5 * 3600)
        else:
            other.claim(CONFIG, {}, -5 * 3600)
            with pytest.raises(OSError, match="not renewed"):
                driver.confirm()
            driver._lease.beat(time.time())  # it wakes up
            with pytest.raises(UsageError, match="the lease was lost"):
                driver.confirm()
            other.confirm()
    finally:
        other.release()
        driver.release()


def test_of_several_who_come_at_once_one_drives(uri: str, quick: None, object_store: ObjectStore) -> None:
    """Each finds it free; their tokens arrive one after another."""
    leases = [ObjectLease(folder_at(uri)) for _ in range(4)]
    outcomes: list[Any] = []
    barrier = threading.Barrier(len(leases))
    puts = itertools.count()

    def one_after_another(method: str, key: str) -> bool:
        if method == "PUT" and key.endswith(LEASE):
            time.sleep(min(next(puts), 3) * 0.08)
        return False

    def take(lease: ObjectLease) -> None:
        barrier.wait()
        try:
            lease.take(time.time())
            outcomes.append(sum(map(_sure, leases)))
        except UsageError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=take, args=(lease,)) for lease in leases]
    with object_store.refusing(one_after_another):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(outcomes) == len(leases)
    num_sure = [outcome for outcome in outcomes if isinstance(outcome, int)]
    assert num_sure, "somebody has it"
    assert max(num_sure) <= 1, "and nobody else was sure of it at that moment"


def test_a_heartbeat_is_one_put_and_a_look_whose_the_lease_is(uri: str, quick: None, object_store: ObjectStore) -> None:
    lease = ObjectLease(folder_at(uri))
    lease.take(time.time())
    with object_store.counted() as asked:
        lease.beat(time.time())
    assert asked == {"HEAD": 1, "GET": 1, "PUT": 1}
    with object_store.counted() as asked:
        lease.confirm()
    assert asked == {}
    lease.release()


def test_a_store_that_was_away_gives_the_lease_back_to_its_driver(
    uri: str, quick: None, object_store: ObjectStore
) -> None:
    driver = claimed(uri)
    try:
        driver.confirm()
        with object_store.refusing():
            wait_for(lambda: _unsure(driver))
        wait_for(lambda: not _unsure(driver))
    finally:
        driver.release()
    assert LEASE not in folder_at(uri).entries()


def _sure(lease: ObjectLease) -> bool:
    try:
        lease.confirm()
    except (OSError, UsageError):
        return False
    return True


def _unsure(driver: RunFolder) -> bool:
    try:
        driver.confirm()
    except OSError:
        return True
    return False


def test_a_lease_that_somebody_took_away_ends_its_driver(uri: str, quick: None) -> None:
    driver = claimed(uri)
    folder_at(uri).remove(LEASE)
    wait_for(lambda: driver.lost is not None)
    with pytest.raises(UsageError, match=r"the lease was lost .* is being driven by another process"):
        driver.confirm()
    driver.release()


def test_a_stop_request_reaches_the_driver_and_is_gone_with_the_next(uri: str, quick: None) -> None:
    driver = claimed(uri)
    assert not driver.asked_to_stop
    asking = RunFolder.existing(uri)
    assert asking.settings() == CONFIG
    asking.ask_to_stop(time.time(), at_once=True)
    wait_for(lambda: driver.asked_to_stop)
    assert driver.asked_to_stop_at_once
    driver.release()
    assert wait_until_free(asking, 30.0)
    again = claimed(uri)
    time.sleep(0.5)
    assert not again.asked_to_stop
    again.release()


def test_rules_of_a_run_folder_hold_in_an_object_store(uri: str, quick: None, object_store: ObjectStore) -> None:
    with pytest.raises(UsageError, match=r"no config\.yaml"):
        RunFolder.existing(uri)
    claimed(uri).release()
    assert RunFolder(uri).scratch.parent.name == f"orchestrator-{os.getuid()}"
    with pytest.raises(UsageError, match="seed was 0, now 1"):
        RunFolder(uri).claim({**CONFIG, "seed": 1}, {}, 2.0)
    assert fresh_path(uri) == uri.replace("?", "-2?", 1)
    foreign = object_store.uri()
    folder_at(foreign).write("thesis.tex", b"mine")
    with pytest.raises(UsageError, match=r"thesis\.tex"):
        claimed(foreign)
    with object_store.refusing(), pytest.raises(UsageError, match=r"cannot be read .*503"):
        claimed(uri)
    with pytest.raises(UsageError, match=r"cannot be written .*run\.root"):
        claimed(uri.replace("s3://runs/", "s3://no-such-bucket/"))
