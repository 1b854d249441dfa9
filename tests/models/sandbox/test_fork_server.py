import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from models.sandbox import wire
from models.sandbox.jail import Device, Limits
from models.sandbox.parent import Ended, ForkServer, SandboxError, lent

FEW = Limits(processes=40)
LONG_S = 3_600.0  # no child here reaches it: what ends a child is what the test does
HERE = str(Path(__file__).parent)
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and a subreaper")


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    limits = Limits(memory_bytes=4 << 30, file_bytes=1 << 20, open_files=64)
    with ForkServer(tasks="hostile_tasks", search_path=[HERE], limits=limits) as server:
        yield server


@pytest.fixture(scope="module")
def cuda_server() -> Iterator[ForkServer]:
    """Its children may start processes; no test here needs a GPU."""
    with ForkServer(tasks="hostile_tasks", search_path=[HERE], limits=FEW, device="cuda") as server:
        yield server


@pytest.fixture(scope="module")
def bare_server() -> Iterator[ForkServer]:
    """The same on a machine that refuses namespaces: nothing but the server holds the processes."""
    with ForkServer(tasks="no_namespaces", search_path=[HERE], limits=FEW, device="cuda") as server:
        yield server


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # it may end between the opening and the reading
        return False


def await_gone(pids: list[int], server: int | None = None) -> None:
    """None of them runs any more, and the server has no descendant: it answers before it has taken all apart."""
    until = time.monotonic() + 100
    while (any(map(is_running, pids)) or (server and descendants(server))) and time.monotonic() < until:
        time.sleep(0.01)
    assert not any(map(is_running, pids))
    assert server is None or descendants(server) == []


def pids_said(message: wire.Message) -> list[int]:
    pids = message.body["pids"]
    assert isinstance(pids, list)
    return [pid for pid in pids if isinstance(pid, int)]


def test_a_task_answers_with_what_it_was_given(server: ForkServer) -> None:
    with server.spawn("echo", {"a": [1, None]}, {"x": np.arange(3)}, deadline_s=LONG_S) as child:
        answer = child.receive(max_array_bytes=24)
    assert answer.body == {"a": [1, None]}
    assert answer.array("x").tolist() == [0, 1, 2]


def test_children_of_one_server_run_side_by_side(server: ForkServer) -> None:
    with (
        server.spawn("sleep_forever", deadline_s=LONG_S) as first,
        server.spawn("sleep_forever", deadline_s=LONG_S) as second,
    ):
        assert first.receive().kind == second.receive().kind == "asleep"
        first.kill()
        assert is_running(second.pid)


@LINUX
def test_child_has_nothing_of_its_parents(server: ForkServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "secret")
    with ForkServer(tasks="hostile_tasks", search_path=[HERE]) as fresh:
        with fresh.spawn("surroundings", deadline_s=LONG_S) as child:
            seen = child.receive().body
            assert Path(str(seen["folder"])).is_dir()
        assert not Path(str(seen["folder"])).exists()
    environment = seen["environment"]
    assert isinstance(environment, dict)
    assert environment["HOME"] == environment["TMPDIR"] == seen["folder"]
    assert not {"API_KEY", "USER", "PYTHONPATH", "SSH_AUTH_SOCK"} & set(environment)
    assert seen["files"] == []
    assert seen["group"] == seen["session"] == seen["pid"] == child.pid
    assert seen["core"] == [0, 0]
    assert seen["fds"] == [0, 1, 2, 3]  # standard streams and the socket


def test_a_child_cannot_take_memory_files_or_descriptors_without_bound(server: ForkServer) -> None:
    with server.spawn("exhaust", deadline_s=LONG_S) as child:
        assert child.receive().body == {"memory": "refused", "file": "refused", "files": "refused"}


@LINUX
def test_a_lent_file_can_be_read_and_not_written(server: ForkServer) -> None:
    tokens = np.frombuffer(b"some tokens", np.uint8)
    with lent(tokens) as fd, server.spawn("read_file", fds=[fd], deadline_s=LONG_S) as child:
        assert child.receive().body == {"text": "some tokens", "write": "PermissionError"}


@LINUX
@pytest.mark.parametrize("task", ["sleep_forever", "ignore_sigterm"])
def test_killing_a_child_ends_it(server: ForkServer, task: str) -> None:
    assert_killed_with_its_tree(server, task)


@LINUX
@pytest.mark.parametrize("kind", ["cuda_server", "bare_server"])
@pytest.mark.parametrize("task", ["sleep_forever", "ignore_sigterm", "grandchildren", "stop_itself", "fork_chain"])
def test_killing_a_child_leaves_no_descendant(kind: str, task: str, request: pytest.FixtureRequest) -> None:
    assert_killed_with_its_tree(request.getfixturevalue(kind), task)


def assert_killed_with_its_tree(server: ForkServer, task: str) -> None:
    started = server.start()
    with server.spawn(task, deadline_s=LONG_S) as child:
        pids = pids_said(child.receive())
        assert all(map(is_running, pids))
        if task == "fork_chain":
            time.sleep(0.2)
        assert child.kill().signal == signal.SIGKILL
    await_gone(pids, started)
    assert server.start() == started


def descendants(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children]


@LINUX
@pytest.mark.parametrize("kind", ["cuda_server", "bare_server"])
def test_a_fork_bomb_is_ended_as_one(kind: str, request: pytest.FixtureRequest) -> None:
    server: ForkServer = request.getfixturevalue(kind)
    started = server.start()
    with server.spawn("fork_bomb", deadline_s=LONG_S) as child:
        assert child.receive().kind == "asleep"
        with pytest.raises(wire.PeerGoneError):
            child.receive()
        assert child.kill().cause == "processes"
    await_gone([], started)
    assert server.start() == started


@LINUX
def test_a_child_that_ends_leaves_no_daemon_and_no_open_connection(cuda_server: ForkServer) -> None:
    with cuda_server.spawn("leave_grandchildren", deadline_s=LONG_S) as child:
        pids = pids_said(child.receive())
        with pytest.raises(wire.PeerGoneError):
            child.receive()  # the daemons held the socket too
        assert child.kill() == Ended(code=0)
    await_gone(pids)


@LINUX
def test_killing_one_child_spares_the_descendants_of_another(cuda_server: ForkServer) -> None:
    with (
        cuda_server.spawn("sleep_forever", deadline_s=LONG_S) as other,
        cuda_server.spawn("grandchildren", deadline_s=LONG_S) as child,
    ):
        other.receive()
        pids = pids_said(child.receive())
        other.kill()
        assert all(map(is_running, pids))


@LINUX
def test_orphans_of_a_living_child_are_ended_where_no_namespace_holds_them(bare_server: ForkServer) -> None:
    with bare_server.spawn("grandchildren", deadline_s=LONG_S) as child:
        pids = pids_said(child.receive())
        until = time.monotonic() + 100
        while all(map(is_running, pids)) and time.monotonic() < until:
            time.sleep(0.02)
        assert [is_running(pid) for pid in pids].count(False) == 1


def test_a_raising_task_is_told_with_its_traceback(server: ForkServer) -> None:
    with server.spawn("raise_error", deadline_s=LONG_S) as child:
        failed = child.receive()
    assert (failed.kind, failed.text("failure")) == ("failed", "error")
    assert "hostile_tasks.py line" in failed.text("detail")
    assert failed.text("detail").endswith("KeyError: 'nothing here'")
    assert HERE not in failed.text("detail")


def test_a_named_failure_keeps_its_name(server: ForkServer) -> None:
    with server.spawn("fail_by_name", deadline_s=LONG_S) as child:
        failed = child.receive()
    assert (failed.text("failure"), failed.text("detail")) == ("diverged", "loss went up")


@pytest.mark.parametrize(
    ("task", "words"),
    [("leave_at_once", "exit code 7\nso long"), ("segfault", "SIGSEGV")],
)
def test_a_dead_child_is_a_typed_error_and_says_how_it_ended(server: ForkServer, task: str, words: str) -> None:
    with server.spawn(task, deadline_s=LONG_S) as child:
        with pytest.raises(wire.PeerGoneError):
            child.receive()
        assert words in child.kill().describe()


@LINUX
def test_who_hangs_up_was_not_killed_by_an_outsider(server: ForkServer) -> None:
    with server.spawn("hang_up", deadline_s=LONG_S) as child:
        with pytest.raises(wire.PeerGoneError):
            child.receive()
        ended = child.kill()
    assert (ended.signal, ended.by_outsider) == (signal.SIGKILL, False)
    assert "connection to the child was closed" in ended.describe()


@LINUX
@pytest.mark.parametrize("kind", ["server", "cuda_server"])
def test_an_outsider_that_kills_a_child_is_told_apart(kind: str, request: pytest.FixtureRequest) -> None:
    server: ForkServer = request.getfixturevalue(kind)
    with server.spawn("sleep_forever", deadline_s=LONG_S) as child:
        (pid,) = pids_said(child.receive())
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(wire.PeerGoneError):
            child.receive()
        assert child.kill().by_outsider


@pytest.mark.parametrize(
    ("task", "error"),
    [
        ("garbage", wire.MalformedError),
        ("half_a_message", wire.PeerGoneError),
        ("too_much", wire.TooLargeError),
        ("never_reads", wire.PeerSilentError),
    ],
)
def test_a_child_that_breaks_the_protocol_is_a_typed_error(
    server: ForkServer, task: str, error: type[wire.WireError]
) -> None:
    deadline_s = 1.0 if error is wire.PeerSilentError else LONG_S
    with pytest.raises(error), server.spawn(task, deadline_s=deadline_s) as child:
        child.receive(max_array_bytes=5_000)


def test_a_child_that_never_reads_does_not_outlast_its_deadline(server: ForkServer) -> None:
    with pytest.raises(wire.PeerSilentError):
        server.spawn("never_reads", arrays={"a": np.zeros(1_000_000)}, deadline_s=0.5)


def test_kill_from_another_thread_ends_a_receive(server: ForkServer) -> None:
    with server.spawn("sleep_forever", deadline_s=LONG_S) as child:
        child.receive()
        killer = threading.Timer(0.1, child.kill)
        killer.start()
        with pytest.raises(wire.PeerGoneError):
            child.receive()
        killer.join()


def test_an_unknown_task_is_refused_and_the_server_goes_on(server: ForkServer) -> None:
    with pytest.raises(SandboxError, match="refused the task 'nothing'"):
        server.spawn("nothing", deadline_s=LONG_S)
    with server.spawn("echo", deadline_s=LONG_S) as child:
        assert child.receive().kind == "echoed"


@LINUX
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize(("device", "task"), [("cpu", "ignore_sigterm"), ("cuda", "grandchildren")])
def test_a_server_that_is_lost_takes_its_children_along_and_is_replaced(
    number: signal.Signals, device: Device, task: str
) -> None:
    with ForkServer(tasks="hostile_tasks", search_path=[HERE], device=device) as server:
        lost = server.start()
        with server.spawn(task, deadline_s=LONG_S) as child:
            pids = pids_said(child.receive())
            os.kill(lost, number)
            if number == signal.SIGKILL:
                with pytest.raises(wire.PeerGoneError):
                    child.receive()
            assert child.kill().with_server
        assert server.start() != lost
        await_gone(pids)
        with server.spawn("echo", deadline_s=LONG_S) as child:
            assert child.receive().kind == "echoed"


@LINUX
def test_closing_the_server_ends_all_its_children_and_removes_its_folder() -> None:
    server = ForkServer(tasks="hostile_tasks", search_path=[HERE], device="cuda")
    child = server.spawn("grandchildren", deadline_s=LONG_S)
    pids = pids_said(child.receive())
    with server.spawn("surroundings", deadline_s=LONG_S) as other:
        folder = Path(str(other.receive().body["folder"])).parent
    assert folder.is_dir()
    server.close()
    await_gone(pids)
    assert not folder.exists()
    child.__exit__(None, None, None)


@LINUX
@pytest.mark.parametrize("last_words", ["", "for pid in children(): os.kill(pid, signal.SIGKILL)\n"])
def test_the_server_and_its_children_die_with_a_killed_parent(tmp_path: Path, last_words: str) -> None:
    """Also where the parent's own children are killed first, as Ray does when a worker ends."""
    script = (
        "import os, signal, sys, time\n"
        "from pathlib import Path\n"
        "from models.sandbox.parent import ForkServer\n"
        f"server = ForkServer(tasks='hostile_tasks', search_path=[{HERE!r}], device='cuda')\n"
        "child = server.spawn('grandchildren', deadline_s=600)\n"
        "print(server.start(), *child.receive().body['pids'], flush=True)\n"
        "def children(): return map(int, Path(f'/proc/self/task/{os.getpid()}/children').read_text().split())\n"
        "sys.stdin.readline()\n"
        f"{last_words}"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = str(Path(HERE).parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdin is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 6
        assert all(map(is_running, pids))
        parent.stdin.write("\n")
        parent.stdin.flush()
    await_gone(pids)
    until = time.monotonic() + 100
    while list(tmp_path.iterdir()) and time.monotonic() < until:
        time.sleep(0.01)
    assert list(tmp_path.iterdir()) == []


def test_tasks_that_cannot_be_imported_are_told_at_the_start() -> None:
    with ForkServer(tasks="no_such_tasks") as server, pytest.raises(SandboxError, match="No module named"):
        server.start()


@LINUX
def test_a_preload_that_starts_a_thread_is_refused() -> None:
    with (
        ForkServer(tasks="threaded_tasks", search_path=[HERE]) as server,
        pytest.raises(SandboxError, match="2 threads"),
    ):
        server.start()


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Limits)])
def test_limits_below_one_are_refused(field: str) -> None:
    with pytest.raises(ValueError, match=f"{field} is 0"):
        Limits(**{field: 0})


def test_the_parents_side_loads_neither_torch_nor_ray() -> None:
    code = "import sys, models.trial; print([name for name in ('torch', 'ray', 'duckdb') if name in sys.modules])"
    root = str(Path(HERE).parents[2])
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert run.stdout.strip() == "[]"
