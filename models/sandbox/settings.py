"""What a person may choose about the sandbox. Ray workers import this: no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from models.sandbox.layer import Device, Limits
from models.sandbox.parent import ForkServer, Require

REQUIREMENTS = ("available", "full")


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSettings:
    """How strictly generated code is confined; docs/trust.md says what each layer does."""

    require: str = "available"  # "full" refuses to run where a layer of this platform is missing
    policy: bool = True  # read the source before it runs: quick feedback, and one more wall
    memory_gb: float = 6.0  # what a candidate's processes may hold together; of ranks, as many times as there are

    def __post_init__(self) -> None:
        if self.require not in REQUIREMENTS:
            raise ValueError(f"sandbox.require is {self.require!r}: use {' or '.join(REQUIREMENTS)}")
        if not 0.5 <= self.memory_gb < math.inf:
            raise ValueError(f"sandbox.memory_gb is {self.memory_gb}: use 0.5 or more, or no candidate can train")

    def fork_server(self, device: Device = "cpu") -> ForkServer:
        """A server whose children are confined so, for candidates that run on that device."""
        limits = replace(Limits.for_device(device), rss_bytes=int(self.memory_gb * 1e9))
        require: Require = "full" if self.require == "full" else "available"
        return ForkServer(limits=limits, require=require, device=device)
