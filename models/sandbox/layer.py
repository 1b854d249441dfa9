"""The words of the jail: what a child keeps, what limits it, and what is known of each layer."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Literal, Protocol, Self

if TYPE_CHECKING:
    from models.sandbox.file_rules import FileRules
    from models.sandbox.wire import Json

Device = Literal["cpu", "cuda"]
Cause = Literal["memory", "processes", "disk"]
"""Why the watch ended a child."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Resource limits of one child with everything that it starts."""

    memory_bytes: int | None = 16 << 30  # address space; None, and without effect, on CUDA, which maps far more
    rss_bytes: int = 6 << 30  # memory of its own, watched
    file_bytes: int = 256 << 20  # largest file that it may write
    open_files: int = 256
    processes: int = 64
    threads: int = 256
    scratch_bytes: int = 1 << 30
    scratch_entries: int = 10_000

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is not None and value <= 0:
                raise ValueError(f"{name} is {value}; give a positive number" + " or None" * (name == "memory_bytes"))

    def of_gang(self, num: int) -> Self:
        """What `num` processes may use together: memory, processes and threads of each, and one folder."""
        return replace(
            self, rss_bytes=num * self.rss_bytes, processes=num * self.processes + 1, threads=num * self.threads
        )

    @classmethod
    def for_device(cls, device: Device) -> Self:
        """The defaults; on CUDA with room for the driver, pinned memory and the compilers."""
        if device == "cpu":
            return cls()
        return cls(
            memory_bytes=None,
            rss_bytes=48 << 30,
            file_bytes=2 << 30,
            open_files=4_096,
            processes=128,
            threads=2_048,
            scratch_bytes=8 << 30,
            scratch_entries=100_000,
        )


class SystemCalls(Protocol):
    """A system call filter that is made once, in the server, and loaded by each child."""

    def load(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer as it was found when a child was confined."""

    name: str
    in_force: bool
    detail: str = ""  # what it does here, or why it is missing
    remedy: str = ""  # what would bring it about
    required: bool = True  # require="full" asks for it; False where an ordinary user cannot have it

    def as_row(self) -> dict[str, Json]:
        """Plain values, for the wire."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


class MissingLayer(Exception):
    """This layer cannot be had here; the child goes on without it."""

    def __init__(self, reason: str, remedy: str, *, required: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy
        self.required = required


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What the server prepares before it forks: a layer's rules, or why they cannot be had."""

    file_rules: FileRules | MissingLayer
    system_calls: SystemCalls | MissingLayer
    user_namespace: MissingLayer | None  # None where it can be had


@dataclass(frozen=True, slots=True, kw_only=True)
class Jail:
    """What one child keeps."""

    scratch: str  # an empty folder of its own: working directory, HOME and TMPDIR
    log_fd: int  # where its standard output and error go
    kept_fd: int  # one end of the socket to the parent
    handed_fds: tuple[int, ...]  # files that the parent lent it
    server_pid: int
    limits: Limits
    device: Device
    tools: Tools
    compile_cache: str | None = None  # CUDA: a trusted folder, copied into the scratch
    num_processes: int = 1  # more: a gang of ranks, behind a keeper (models.sandbox.gang)

    @property
    def num_kept_fds(self) -> int:
        """Descriptors that stay open: 3 standard streams, the socket, the handed files."""
        return 4 + len(self.handed_fds)
