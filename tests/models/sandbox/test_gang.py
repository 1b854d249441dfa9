"""Several processes as one child: every layer holds in each rank, and a rank that fails ends all of them, typed."""

import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from models.sandbox import wire
from models.sandbox.jail import Limits
from models.sandbox.parent import Child, ForkServer, SandboxError
from tests.models.sandbox import jail_tasks
from tests.models.sandbox.surroundings import Surroundings

HERE = str(Path(__file__).parent)
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the layers are Linux's")

IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
KINDS = [
    "cpu own",
    pytest.param("cpu nobody", marks=pytest.mark.skipif(not IS_ROOT, reason="only root can change the user")),
    "cuda own",
]
LIMITS = Limits(rss_bytes=400 << 20)
LONG_S = 300.0  # no gang here reaches it: what ends one is what the test does
# On CUDA children start programs and keep their user, and a compiler's temporary files are nothing strange.
ALLOWED_ON_CUDA = {
    "become root",
    "fork",
    "execute",
    "leave the session",
    "memory without a file",
    "shared memory",
    "a file without a name",
}
OF_RANKS = (
    "kill the other rank",
    "kill the keeper",
    "read the other rank's memory",
    "listen",
    "connect by sending",
)


@pytest.fixture(scope="module")
def served() -> Iterator[Callable[[str], ForkServer]]:
    servers = dict[str, ForkServer]()

    def serve(kind: str) -> ForkServer:
        if kind not in servers:
            device, _, user = kind.partition(" ")
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("CUDA_VISIBLE_DEVICES", f"as {user}")  # one of the few variables that reach the server
                server = ForkServer(tasks="tests.models.sandbox.gang_tasks", limits=LIMITS, device=device)  # type: ignore[arg-type]
                server.start()
            servers[kind] = server
        return servers[kind]

    yield serve
    for server in servers.values():
        server.close()


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, served: Callable[[str], ForkServer]) -> ForkServer:
    return served(request.param)


@pytest.fixture
def cpu_server(served: Callable[[str], ForkServer]) -> ForkServer:
    return served("cpu own")


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # it may end between the opening and the reading
        return False


def await_gone(pids: list[int]) -> None:
    until = time.monotonic() + 100
    while any(map(is_running, pids)) and time.monotonic() < until:
        time.sleep(0.01)
    assert not any(map(is_running, pids))


def tree(pid: int) -> list[int]:
    """The descendants of a process, as this side counts them."""
    found = [pid]
    for one in found:
        with suppress(OSError):  # it may end meanwhile
            found.extend(map(int, Path(f"/proc/{one}/task/{one}/children").read_text().split()))
    return found[1:]


def ranks_of(child: Child) -> list[int]:
    """The ranks: the last generation of a gang that starts nothing itself."""
    return [pid for pid in (child.pid, *tree(child.pid)) if not tree(pid)]


def ending(server: ForkServer, how: str, rank: int, hang: bool = False, deadline_s: float = LONG_S) -> Child:
    told: dict[str, wire.Json] = {"how": how, "rank": rank, "hang": hang}
    return server.spawn("end", told, deadline_s=deadline_s, num_processes=2)


@pytest.mark.parametrize("kind", [*KINDS, "cpu one without namespaces"])
def test_no_rank_gets_out_nor_do_threads_that_are_older_than_the_filter(
    kind: str, served: Callable[[str], ForkServer], surroundings: Surroundings
) -> None:
    server = served(kind)
    before = server.start()
    left_out = ALLOWED_ON_CUDA if kind.startswith("cuda") else set()
    if platform.machine() != "x86_64":  # they go by their numbers on x86-64
        left_out |= set(jail_tasks._CALLS)
    names: list[wire.Json] = [name for name in (*jail_tasks.ATTEMPTS, *OF_RANKS) if name not in left_out]
    told = {**surroundings.told("", server), "names": names}
    with server.spawn("attempt", told, deadline_s=LONG_S, num_processes=2) as child:
        tried = child.receive()
    assert tried.kind == "tried", tried.body
    errors = tried.rows("errors")
    assert len(errors) == 2
    for of_rank in errors:
        assert list(of_rank) == names
        assert {name: error for name, error in of_rank.items() if "" in error} == {}  # type: ignore[operator]
    assert server.start() == before


def test_every_thread_of_every_rank_is_filtered_and_without_rights(
    server: ForkServer, request: pytest.FixtureRequest
) -> None:
    with server.spawn("hear", {"word": ""}, {"numbers": np.zeros(1)}, deadline_s=LONG_S, num_processes=2) as child:
        child.receive()
        for pid in ranks_of(child):
            statuses = [
                dict(line.partition(":\t")[::2] for line in (task / "status").read_text().splitlines())
                for task in Path(f"/proc/{pid}/task").iterdir()
            ]
            assert len(statuses) > 3  # gloo's are among them
            for status in statuses:
                assert (status["Seccomp"].strip(), status["NoNewPrivs"].strip()) == ("2", "1")
                assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
                if "cuda" not in request.node.name:
                    assert int(status["Uid"].split()[0]) != 0


def test_the_ranks_of_one_gang_share_a_network_that_is_nobody_elses(server: ForkServer) -> None:
    def networks(child: Child) -> set[str]:
        child.receive()
        pids = ranks_of(child)
        assert len(pids) == 2
        return {os.readlink(f"/proc/{pid}/ns/net") for pid in pids}

    told = {"word": ""}, {"numbers": np.zeros(1)}
    with (
        server.spawn("hear", *told, deadline_s=LONG_S, num_processes=2) as one,
        server.spawn("hear", *told, deadline_s=LONG_S, num_processes=2) as other,
    ):
        mine, theirs = networks(one), networks(other)
        links = Path(f"/proc/{ranks_of(one)[0]}/net/dev").read_text().splitlines()[2:]
    assert len(mine) == len(theirs) == 1
    assert len({*mine, *theirs, os.readlink("/proc/self/ns/net")}) == 3
    assert [link.split(":")[0].strip() for link in links] == ["lo"]


def test_every_rank_hears_what_the_parent_says_and_one_answers(server: ForkServer) -> None:
    numbers = np.arange(300_000, dtype=np.float64)
    with server.spawn("hear", {"word": "hello"}, {"numbers": numbers}, deadline_s=LONG_S, num_processes=3) as child:
        assert child.receive().kind == "there"
        heard = child.receive().body
        assert heard == {"words": ["hello"] * 3, "sums": [numbers.sum()] * 3, "ranks": [[0, 3], [1, 3], [2, 3]]}
        pids = [child.pid, *tree(child.pid)]
        child.send("go")
        with pytest.raises(wire.PeerGoneError):
            child.receive()
        assert child.kill().code == 0
    await_gone(pids)


def test_ranks_share_weights_gradients_and_loss_but_not_chance(cpu_server: ForkServer) -> None:
    with cpu_server.spawn("share", deadline_s=LONG_S, num_processes=2) as child:
        shared = child.receive()
    assert shared.kind == "shared", shared.body
    assert shared.body["weights"] == [[[1, 1], [1, 1], [1, 1], [1] * 6, [1, 0]]] * 2
    assert shared.body["losses"] == [1.5, 1.5]
    assert shared.body["gradients"] == [[[5, 5], [3, 3], None, [1] * 6]] * 2
    assert shared.body["largest"] == [10, 10]
    first, second = shared.reals("drawn")
    assert first != second


def assert_nothing_is_left(server: ForkServer, pids: list[int], began_as: int) -> None:
    await_gone(pids)
    until = time.monotonic() + 100
    while tree(began_as) and time.monotonic() < until:
        time.sleep(0.01)
    assert tree(began_as) == []
    assert server.start() == began_as


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(
    ("how", "failure", "words"), [("raise", "error", "KeyError: 'nothing here'"), ("raise by name", "diverged", "loss")]
)
def test_what_one_rank_raises_is_told_by_the_first(
    server: ForkServer, how: str, failure: str, words: str, rank: int
) -> None:
    started = server.start()
    with ending(server, how, rank) as child:
        child.receive()
        pids = [child.pid, *tree(child.pid)]
        failed = child.receive()
    assert (failed.kind, failed.text("failure")) == ("failed", failure)
    assert failed.text("detail").startswith("rank 1 of 2:\n") == (rank == 1)
    assert words in failed.text("detail")
    assert_nothing_is_left(server, pids, started)


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("leave", ("exit code 7", "so long", "rank {rank} of 2 left with exit code 7")),
        ("crash", ("SIGSEGV", "rank {rank} of 2 was ended by SIGSEGV")),
    ],
)
def test_a_rank_that_ends_ends_the_gang_which_says_how(
    server: ForkServer, how: str, words: tuple[str, ...], rank: int
) -> None:
    started = server.start()
    with ending(server, how, rank) as child:
        child.receive()
        pids = [child.pid, *tree(child.pid)]
        with pytest.raises(wire.PeerGoneError):
            child.receive(timeout_s=100)
        ended = child.kill().describe()
    for word in words:
        assert word.format(rank=rank) in ended
    assert_nothing_is_left(server, pids, started)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_is_killed_ends_the_gang(server: ForkServer, rank: int) -> None:
    started = server.start()
    with ending(server, "hang", 1 - rank) as child:
        child.receive()
        pids = [child.pid, *tree(child.pid)]
        os.kill(ranks_of(child)[rank], signal.SIGKILL)
        with pytest.raises(wire.PeerGoneError):
            child.receive(timeout_s=100)
        ended = child.kill()
    assert ended.by_outsider
    assert f"rank {rank} of 2 was ended by SIGKILL" in ended.log
    assert_nothing_is_left(server, pids, started)


def test_a_rank_that_hangs_does_not_outlast_the_deadline(server: ForkServer) -> None:
    started = server.start()
    with ending(server, "hang", 1) as child:
        child.receive()
        pids = [child.pid, *tree(child.pid)]
        child._deadline = time.monotonic() + 0.5  # it is up now, however long that took
        with pytest.raises(wire.PeerSilentError):
            child.receive()
    assert_nothing_is_left(server, pids, started)


def test_a_failure_is_in_the_log_where_the_first_rank_hangs(cpu_server: ForkServer) -> None:
    with ending(cpu_server, "raise", 1, hang=True) as child:
        child.receive()
        with pytest.raises(wire.PeerGoneError):
            child.receive(timeout_s=100)
        ended = child.kill()
    assert ended.code == 2
    assert "KeyError: 'nothing here'\nrank 1 of 2 left with exit code 2" in ended.log


def test_what_a_rank_makes_up_for_the_first_one_is_no_message_to_the_parent(cpu_server: ForkServer) -> None:
    with ending(cpu_server, "garbage", 1) as child:
        child.receive()
        with pytest.raises(wire.PeerGoneError):
            child.receive(timeout_s=100)
        assert child.kill().code == 7


def test_memory_is_counted_over_all_ranks(cpu_server: ForkServer) -> None:
    with cpu_server.spawn("hold_memory", deadline_s=LONG_S, num_processes=2) as child:
        with pytest.raises(wire.PeerGoneError):
            child.receive()
        ended = child.kill()
    assert ended.cause == "memory"
    assert "the limit is 800 MiB" in ended.describe()


@pytest.mark.parametrize("rank", [0, 1])
def test_memory_that_one_rank_is_refused_is_told(cpu_server: ForkServer, rank: int) -> None:
    with ending(cpu_server, "ask for much", rank) as child:
        child.receive()
        failed = child.receive()
    assert (failed.kind, failed.text("failure")) == ("failed", "memory")
    assert "allocate 1073741824 bytes" in failed.text("detail")


def test_a_rank_that_has_done_its_part_does_not_end_the_first(cpu_server: ForkServer) -> None:
    with cpu_server.spawn("finish_late", deadline_s=LONG_S, num_processes=2) as child:
        assert child.receive().kind == "done"


def test_the_ranks_end_with_a_lost_server() -> None:
    with ForkServer(tasks="tests.models.sandbox.gang_tasks", device="cpu") as server:
        lost = server.start()
        with ending(server, "hang", 1) as child:
            child.receive()
            pids = [child.pid, *tree(child.pid)]
            os.kill(lost, signal.SIGKILL)
            with pytest.raises(wire.PeerGoneError):
                child.receive()
            assert child.kill().with_server
        await_gone(pids)


def test_tasks_without_a_rendezvous_run_in_one_process() -> None:
    with ForkServer(tasks="hostile_tasks", search_path=[HERE]) as server:
        with pytest.raises(SandboxError, match="no rendezvous"):
            server.spawn("echo", deadline_s=LONG_S, num_processes=2)
        with server.spawn("echo", deadline_s=LONG_S) as child:
            assert child.receive().kind == "echoed"
