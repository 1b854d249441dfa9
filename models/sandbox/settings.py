"""What a person may choose about the sandbox. Ray workers import this: no torch."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from models.sandbox.layer import Device, Limits
from models.sandbox.parent import ForkServer, Require

REQUIREMENTS = ("available", "full")
_MOST_SHARE = 0.7  # of the machine's memory: the rest is for Ray, the driver and the system
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSettings:
    """How strictly generated code is confined; docs/trust.md says what each layer does."""

    require: str = "available"  # "full" refuses to run where a layer of this platform is missing
    policy: bool = True  # read the source before it runs: quick feedback, and one more wall
    memory_gb: float = 6.0  # what a candidate's processes may hold together, for each rank; less on a small machine

    def __post_init__(self) -> None:
        if self.require not in REQUIREMENTS:
            raise ValueError(f"sandbox.require is {self.require!r}: use {' or '.join(REQUIREMENTS)}")
        if not 0.5 <= self.memory_gb < math.inf:
            raise ValueError(f"sandbox.memory_gb is {self.memory_gb}: use 0.5 or more, or no candidate can train")

    def fork_server(self, device: Device = "cpu") -> ForkServer:
        """A server whose children are confined so, for candidates that run on that device."""
        limits = replace(
            Limits.for_device(device), rss_bytes=int(min(self.memory_gb * 1e9, _MOST_SHARE * memory_bytes()))
        )
        require: Require = "full" if self.require == "full" else "available"
        return ForkServer(limits=limits, require=require, device=device)


def memory_bytes() -> int:
    """What this machine has, or the container in which this runs may use."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in _CGROUP_LIMITS:
        with suppress(OSError, ValueError):  # no such group, or "max"
            found.append(int(Path(path).read_text()))
    return min(found)
