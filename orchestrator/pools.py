"""Pools: what one trial takes from the cluster, by name. Stages name their pool (orchestrator/stages.py)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from models.sandbox.layer import Device

GATE = "gate"  # where examinations run: a pool like the others, but its members are not trials

_ACCELERATOR = "accelerator_type:"  # how Ray writes the type of a node's accelerator as a resource
_A_TOUCH = 0.001  # of such a resource, as Ray itself asks for it


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """What one trial takes, and how many may run at once.

    `gpus` below 1 is a share of one card; whole numbers from 2 on are cards of one node, and the trial trains
    data-parallel on them. Raises ValueError for figures that Ray could never place.
    """

    cpus: float = 1.0
    gpus: float = 0.0
    memory_gb: float | None = None  # that Ray sets aside; what a candidate may hold is sandbox.memory_gb
    accelerator_type: str | None = None  # as Ray names them: H100, A100, ...
    resources: Mapping[str, float] = field(default_factory=dict)  # custom Ray resources
    processes: int | None = None  # ranks that one trial trains with; null: one for each whole GPU
    limit: int | None = None  # trials at once; null: as many as the cluster has room for
    weight: float = 1.0  # of the room that pools share

    def __post_init__(self) -> None:
        for name in ("cpus", "gpus"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} is {value}: use 0 or more")
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError(f"gpus is {self.gpus}: above one card only whole ones can be had")
        if self.memory_gb is not None and not 0 < self.memory_gb < math.inf:
            raise ValueError(f"memory_gb is {self.memory_gb}: use a number above zero, or null for none set aside")
        for name, value in self.resources.items():
            if not 0 < value < math.inf:
                raise ValueError(f"resources.{name} is {value}: use a number above zero")
        if self.processes is not None and self.processes < 1:
            raise ValueError(f"processes is {self.processes}: use 1 or more, or null for one each whole GPU")
        if self.processes is not None and self.gpus > 1 and self.processes != self.gpus:
            raise ValueError(f"processes is {self.processes} with gpus {self.gpus:g}: each rank has a card of its own")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit is {self.limit}: use 1 or more, or null for as many as fit")
        if not 0 < self.weight < math.inf:
            raise ValueError(f"weight is {self.weight}: use a number above zero")

    @property
    def bundle(self) -> dict[str, float]:
        """One trial's Ray resources, all of one node."""
        asked = {"CPU": self.cpus, "GPU": self.gpus, **self.resources}
        if self.memory_gb is not None:
            asked["memory"] = self.memory_gb * 1e9
        if self.accelerator_type is not None:
            asked[_ACCELERATOR + self.accelerator_type] = _A_TOUCH
        return {name: amount for name, amount in asked.items() if amount > 0}

    @property
    def card_share(self) -> float:
        """Share of a card's memory that one trial may hold."""
        return self.gpus if 0 < self.gpus < 1 else 1.0

    @property
    def num_processes(self) -> int:
        """Ranks that one trial trains with."""
        return self.processes or max(1, int(self.gpus))

    @property
    def device(self) -> Device:
        return "cuda" if self.gpus > 0 else "cpu"

    def fitting(self, have: Mapping[str, float]) -> int:
        """How many trials fit into so many resources, by their totals."""
        most = [int(have.get(name, 0.0) / amount + 1e-9) for name, amount in self.bundle.items()]
        fits = min(most, default=0)
        return fits if self.limit is None else min(fits, self.limit)


def check_pools(pools: Mapping[str, Pool]) -> None:
    """Raise ValueError where a pool of trials takes nothing, or there is no pool at all."""
    if not set(pools) - {GATE}:
        raise ValueError("pools is empty: name at least one, as pools.explore.cpus=1")
    for name, pool in pools.items():
        if name != GATE and not pool.bundle:
            raise ValueError(f"pools.{name} takes nothing: give it cpus, gpus or resources")
