"""What attempts to train took, as rows. Standard library only, handed on by `cognition.records`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cognition.kinds import ChargeOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """One attempt to train, whatever came of it: a trial that was tried three times has three."""

    TABLE: ClassVar[str] = "charges"
    KEY: ClassVar[tuple[str, ...]] = ("charge_id",)

    charge_id: str
    trial_id: str
    candidate_id: str
    number: int
    stage: str
    seed: int
    arm: str
    pool: str
    num_cpus: float
    num_gpus: float
    slot_s: float  # from taking the slot to giving it back
    gpu_s: float  # slot_s * num_gpus
    outcome: ChargeOutcome
    started_at: float = 0.0
    finished_at: float = 0.0
    worker: str = ""
    estimated: bool = False  # nobody saw its end: until the last sign of life


def charge_id_of(trial_id: str, started_at: float) -> str:
    """One attempt is one start of one trial; booking it twice is the same charge."""
    return f"{trial_id}@{started_at:.3f}"
