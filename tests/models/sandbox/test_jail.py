"""Every layer of the jail, alone and together, against tasks that try to get out."""

import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from models.sandbox import wire
from models.sandbox.jail import Limits
from models.sandbox.parent import Child, Ended, ForkServer, SandboxError
from models.scratch import OWNED
from tests.models.sandbox import jail_tasks
from tests.models.sandbox.surroundings import Surroundings

HERE = str(Path(__file__).parent)
ROOT = Path(HERE).parents[2]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the layers are Linux's")

IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
NEEDS_ROOT = pytest.mark.skipif(not IS_ROOT, reason="only root can change the user")
KINDS = [
    pytest.param((device, user), id=f"{device}-{user}", marks=[NEEDS_ROOT] if user == "nobody" else [])
    for device in ("cpu", "cuda")
    for user in ("own", "nobody")
]
MIB = 1 << 20
LIMITS = Limits(
    rss_bytes=300 * MIB, processes=20, threads=25, scratch_bytes=20 * MIB, scratch_entries=500, file_bytes=8 * MIB
)

# On CUDA children start programs, and a compiler's own temporary files and shared memory are nothing strange.
ALLOWED_ON_CUDA = {
    "fork",
    "execute",
    "leave the session",
    "memory without a file",
    "shared memory",
    "a file without a name",
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., ForkServer]]:
    """Servers by how they warm up, each started once."""
    folder, servers = tmp_path_factory.mktemp("tasks"), dict[tuple[object, ...], ForkServer]()

    def serve(device: str, *warm_up: str, limits: Limits | None = None) -> ForkServer:
        key = (device, warm_up, limits)
        if key not in servers:
            name = f"made_tasks_{len(servers)}"
            body = "".join(f"    {line}\n" for line in warm_up) or "    pass\n"
            (folder / f"{name}.py").write_text(f"import jail_tasks\nTASKS = jail_tasks.TASKS\ndef warm_up():\n{body}")
            servers[key] = ForkServer(tasks=name, search_path=[str(folder), HERE], device=device, limits=limits)  # type: ignore[arg-type]
        return servers[key]

    yield serve
    for server in servers.values():
        server.close()


def as_user(user: str) -> tuple[str, ...]:
    return ("jail_tasks.as_ordinary_user()",) if user == "nobody" else ()


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> tuple[str, str]:
    found: tuple[str, str] = request.param
    return found


def tried(server: ForkServer, name: str, surroundings: Surroundings) -> str:
    with server.spawn("attempt", surroundings.told(name, server), deadline_s=60) as child:
        return child.receive().text("error")


@pytest.mark.parametrize("name", jail_tasks.ATTEMPTS)
def test_no_attempt_to_get_out_succeeds(
    served: Callable[..., ForkServer], kind: tuple[str, str], name: str, surroundings: Surroundings
) -> None:
    device, user = kind
    if device == "cuda" and (name in ALLOWED_ON_CUDA or (name == "become root" and IS_ROOT and user == "own")):
        pytest.skip("a child on CUDA keeps its user and starts programs")
    if platform.machine() != "x86_64" and name in jail_tasks._CALLS:
        pytest.skip("called by its number on x86-64")
    server = served(device, *as_user(user))
    before = server.start()
    assert tried(server, name, surroundings) != ""
    assert server.start() == before


# What one layer refuses with only the first ones, those of every platform, beside it.
ALONE = {
    ("cpu", "own_network"): ("connect",),
    ("cpu", "other_user"): (
        "read another's file",
        "list other scratches",
        "read the server's environment",
        "read the server's memory",
        "write outside",
        "change a mode outside",
        "kill the server",
        "kill the parent",
        "attach a debugger",
        "mount",
        "become root",
        "change an owner",
        "raise a limit",
    ),
    ("cpu", "no_capabilities"): ("mount", "make a device", "change an owner", "raise a limit", "init_module"),
    ("cpu", "file_rules"): (
        "read a system file",
        "read the repository",
        "read another's file",
        "list other scratches",
        "read the server's environment",
        "read the server's memory",
        "write outside",
        "make a symbolic link",
        "make a FIFO",
        "make a device",
        "connect",
        "kill the server",
        "kill the parent",
        "attach a debugger",
        "mount",
        "execute",
    ),
    ("cuda", "own_processes"): ("kill the server", "kill the parent", "attach a debugger"),
    ("cuda", "own_mounts"): ("write outside", "change a mode outside"),
    ("cpu", "system_calls"): (
        "change a mode outside",
        "make a FIFO",
        "make a device",
        "internet socket",
        "unix socket",
        "netlink socket",
        "connect",
        "pass a descriptor",
        "kill the server",
        "kill the parent",
        "kill everyone",
        "own a descriptor's signals",
        "attach a debugger",
        "mount",
        "become root",
        "change an owner",
        "outlive the server",
        "fork",
        "execute",
        "leave the session",
        "memory without a file",
        "shared memory",
        "a file without a name",
        "terminal input",
        "raise a limit",
        *jail_tasks._CALLS,
    ),
    ("cuda", "system_calls"): (
        "internet socket",
        "unix socket",
        "netlink socket",
        "connect",
        "pass a descriptor",
        "attach a debugger",
        "mount",
        "outlive the server",
        *jail_tasks._CALLS,
    ),
}


@NEEDS_ROOT
@pytest.mark.skipif(platform.machine() != "x86_64", reason="some calls go by their numbers on x86-64")
@pytest.mark.parametrize(("layer", "name"), [(layer, name) for layer, names in ALONE.items() for name in names])
def test_a_layer_holds_alone(
    served: Callable[..., ForkServer], layer: tuple[str, str], name: str, surroundings: Surroundings
) -> None:
    server = served(layer[0], f"jail_tasks.keep_only({layer[1]!r})")
    assert tried(server, name, surroundings) not in ("", "EFAULT", "EINVAL", "EBADF", "ENOENT")


@pytest.mark.parametrize("name", ["read a system file", "write outside", "internet socket", "fork", "connect"])
def test_an_attempt_succeeds_where_no_layer_holds_it_back(
    served: Callable[..., ForkServer], name: str, surroundings: Surroundings
) -> None:
    assert tried(served("cpu", "jail_tasks.keep_only()"), name, surroundings) == ""


@pytest.mark.parametrize("name", ["read the server's environment", "read the server's memory", "attach a debugger"])
def test_the_server_cannot_be_looked_into_even_without_the_layers(
    served: Callable[..., ForkServer], name: str, surroundings: Surroundings
) -> None:
    server = served("cpu", *as_user("nobody" if IS_ROOT else "own"), "jail_tasks.keep_only()")
    assert tried(server, name, surroundings) in ("EACCES", "EPERM")


def test_all_layers_hold_here_and_say_so(served: Callable[..., ForkServer], kind: tuple[str, str]) -> None:
    layers = {layer.name: layer for layer in served(kind[0], *as_user(kind[1])).layers()}
    missing = {layer.name for layer in layers.values() if not layer.in_force}
    ordinary = not IS_ROOT or kind[1] == "nobody"
    assert missing == ({"other_user"} if kind[0] == "cpu" and ordinary else set())
    assert all(layer.detail for layer in layers.values())
    if missing:
        assert "only root can change the user" in layers["other_user"].detail


def test_honest_work_goes_on(served: Callable[..., ForkServer], kind: tuple[str, str]) -> None:
    with served(kind[0], *as_user(kind[1])).spawn("honest_work", deadline_s=60) as child:
        done = child.receive()
    assert done.kind == "done", done.body
    assert done.body["results"] == [3.0] * 8
    imports = done.table("imports")
    assert imports["threaded_tasks"] == "no such module"
    if kind[0] == "cpu" or kind[1] == "own":  # nobody may not read the installation anyway
        assert imports["wave"] == ("no such module" if kind[0] == "cpu" else "imported")
    if IS_ROOT and kind == ("cpu", "own"):
        assert done.integer("user") > 2_000_000_000
        assert done.body["groups"] == []


def test_programs_run_on_cuda_with_shared_memory_and_caches_of_their_own(
    served: Callable[..., ForkServer], kind: tuple[str, str], tmp_path: Path
) -> None:
    if kind[0] != "cuda":
        pytest.skip("no program runs on the CPU")
    theirs = Path(f"/dev/shm/of-others-{os.getpid()}")
    theirs.touch()
    try:
        with served(*kind[:1], *as_user(kind[1])).spawn("start_programs", deadline_s=60) as child:
            done = child.receive()
    finally:
        theirs.unlink()
    assert done.kind == "done", done.body
    assert done.body["code"] == 0
    assert done.body["shared_memory"] == ["own"]
    assert not Path("/dev/shm/own").exists()
    assert "/child-" in done.text("cache")


def test_capabilities_are_gone(served: Callable[..., ForkServer]) -> None:
    with served("cpu", "jail_tasks.keep_only('no_new_privileges', 'other_user', 'no_capabilities')").spawn(
        "status_of", deadline_s=60
    ) as child:
        status = child.receive().body
    for name in ("CapEff", "CapPrm") + (("CapBnd",) if IS_ROOT else ()):
        assert int(str(status[name]), 16) == 0, name
    assert status["NoNewPrivs"] == "1"


def test_compilers_find_the_trusted_cache_and_keep_it(tmp_path: Path) -> None:
    (tmp_path / "triton").mkdir()
    (tmp_path / "triton" / "kernel").write_text("compiled")
    with ForkServer(
        tasks="jail_tasks", search_path=[HERE], device="cuda", compile_cache=str(tmp_path), require="full"
    ) as server:
        for _ in range(2):
            with server.spawn("use_cache", deadline_s=60) as child:
                assert child.receive().body == {"kernel": "compiled"}
    assert (tmp_path / "triton" / "kernel").read_text() == "compiled"


def ended_by_watch(server: ForkServer, task: str) -> Ended:
    with server.spawn(task, deadline_s=60) as child:
        await_end(child)
        return child.kill()


def await_end(child: Child) -> None:
    try:
        while True:
            child.receive()
    except wire.PeerGoneError:
        return


@pytest.mark.parametrize(
    ("task", "cause", "words"),
    [
        ("take_memory", "memory", "MiB of memory, the limit is 300 MiB"),
        ("take_memory_without_first_thread", "memory", "the limit is 300 MiB"),
        ("start_threads", "processes", "threads, the limit is 25"),
        ("write_many_files", "disk", "more than 500 files and folders"),
        ("write_much", "disk", "MiB of files, the limit is 20 MiB"),
        ("nest_folders", "disk", "more than 64 deep"),
    ],
)
def test_what_passes_a_limit_is_ended_with_its_cause(
    served: Callable[..., ForkServer], kind: tuple[str, str], task: str, cause: str, words: str
) -> None:
    server = served(kind[0], *as_user(kind[1]), limits=LIMITS)
    before = server.start()
    ended = ended_by_watch(server, task)
    assert (ended.cause, ended.signal) == (cause, signal.SIGKILL)
    assert words in ended.describe()
    assert server.start() == before


@pytest.mark.parametrize(
    ("task", "failure", "words"),
    [
        ("ask_for_much", "memory", "Unable to allocate 1.00 GiB"),
        ("keep_small_objects", "memory", "MemoryError"),
        ("start_threads_without_room", "error", "can't start new thread"),
    ],
)
@pytest.mark.parametrize("user", ["own", pytest.param("nobody", marks=NEEDS_ROOT)])
def test_what_the_kernel_refuses_for_want_of_memory_is_told(
    served: Callable[..., ForkServer], user: str, task: str, failure: str, words: str
) -> None:
    server = served("cpu", *as_user(user), limits=LIMITS)
    with server.spawn(task, deadline_s=60) as child:
        failed = child.receive()
    assert (failed.kind, failed.text("failure")) == ("failed", failure)
    assert words in failed.text("detail")


@pytest.mark.parametrize(
    ("task", "cause", "words"),
    [("start_processes", "processes", "more processes than the 20"), ("write_without_a_name", "disk", "MiB of files")],
)
def test_programs_that_pass_a_limit_on_cuda_are_ended_with_their_cause(
    served: Callable[..., ForkServer], task: str, cause: str, words: str
) -> None:
    ended = ended_by_watch(served("cuda", limits=LIMITS), task)
    assert ended.cause == cause
    assert words in ended.describe()


def test_a_long_log_is_cut_and_its_end_kept(served: Callable[..., ForkServer], kind: tuple[str, str]) -> None:
    server = served(kind[0], *as_user(kind[1]), limits=LIMITS)
    with server.spawn("print_much", deadline_s=60) as child:
        with pytest.raises(wire.PeerGoneError):
            child.receive()
        ended = child.kill()
    assert (ended.code, ended.cause) == (4, None)
    assert ended.log.endswith("the last word\n")


def test_nothing_is_left_of_a_childs_folder(served: Callable[..., ForkServer]) -> None:
    with ForkServer(tasks="jail_tasks", search_path=[HERE], limits=LIMITS) as server:
        server.start()
        for task in ("nest_folders", "write_many_files"):
            ended_by_watch(server, task)
        scratch = server._ready()._scratch
        until = time.monotonic() + 100
        while (left := set(os.listdir(scratch))) != {OWNED, "server.log"} and time.monotonic() < until:
            time.sleep(0.05)
        assert left == {OWNED, "server.log"}
    assert not os.path.exists(scratch)


def test_a_missing_layer_is_named_with_its_reason_and_remedy_where_all_are_required(tmp_path: Path) -> None:
    (tmp_path / "old_kernel.py").write_text(
        "import errno, pyseccomp, jail_tasks\n"
        "TASKS = jail_tasks.TASKS\n"
        "def warm_up():\n"
        "    refusing = pyseccomp.SyscallFilter(pyseccomp.ALLOW)\n"
        "    refusing.add_rule(pyseccomp.ERRNO(errno.ENOSYS), 'landlock_create_ruleset')\n"
        "    refusing.load()\n"
    )
    search_path = [str(tmp_path), HERE]
    with ForkServer(tasks="old_kernel", search_path=search_path) as server:
        layers = {layer.name: layer for layer in server.layers()}
        assert not layers["file_rules"].in_force
        assert layers["system_calls"].in_force
        with server.spawn("honest_work", deadline_s=60) as child:
            assert child.receive().kind == "done"
    words = r"(?s)lacks 1 of.*file_rules: .*Landlock.*to have it: run Linux 5.13"
    with (
        ForkServer(tasks="old_kernel", search_path=search_path, require="full") as server,
        pytest.raises(SandboxError, match=words),
    ):
        server.start()
    with ForkServer(tasks="jail_tasks", search_path=[HERE], require="full") as server:
        server.start()


@pytest.mark.parametrize(("package", "layer"), [("py_landlock", "file_rules"), ("pyseccomp", "system_calls")])
def test_without_a_package_the_other_layers_hold(served: Callable[..., ForkServer], package: str, layer: str) -> None:
    layers = served("cpu", "import sys", f"sys.modules[{package!r}] = None").layers()
    assert [(found.name, found.remedy) for found in layers if found.required and not found.in_force] == [
        (layer, f"pip install {package.replace('_', '-')}")
    ]


@pytest.mark.parametrize("setting", ["require", "device"])
def test_an_unknown_setting_is_refused(setting: str) -> None:
    with pytest.raises(ValueError, match=f"{setting} is 'most'; choose one of"):
        ForkServer(**{setting: "most"})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("device", "user"), [("cpu", "own"), pytest.param("cpu", "as nobody", marks=[NEEDS_ROOT]), ("cuda", "own")]
)
def test_torch_trains_and_computes(device: str, user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", user)  # one of the few variables that reach the server
    with (
        ForkServer(tasks="tests.models.sandbox.torch_tasks", device=device) as server,  # type: ignore[arg-type]
        server.spawn("compute", deadline_s=60) as child,
    ):
        computed = child.receive()
    assert computed.kind == "computed", computed.body
    assert computed.integer("threads") == 4
    losses = computed.reals("losses")
    assert losses[-1] < losses[0]
