"""What a worker is handed: a candidate to be trained, or to be measured. No torch: Ray workers import this."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field

from cognition.records import Pace
from models.anomalies import AnomalyLimits
from models.checkpoints import CheckpointSpec, KeepSpec
from models.data import DataSpec
from models.efficiency.settings import EfficiencySettings
from models.scale import Stage
from models.slots import slot_named


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialJob:
    """A training that is wanted: one candidate, one stage, one seed."""

    trial_id: str
    candidate_id: str
    source: str
    slot: str
    stage: Stage
    seed: int
    data: DataSpec
    device: str = "cpu"
    pace: Pace | None = None  # the reference baseline's, once it is known
    anomalies: AnomalyLimits = field(default_factory=AnomalyLimits)
    checkpoints: CheckpointSpec | None = None  # None: when it is cut off it begins anew
    keeps: KeepSpec | None = None  # where its weights go once it has finished
    num_processes: int = 1  # that train on it, one per device; each takes its share of every batch
    card_share: float = 1.0  # of a GPU's memory, that each of its children may hold
    corpus: str = ""  # digest that the text must have where it is trained; empty: any
    efficiency: EfficiencySettings | None = None  # what it costs is measured, and nothing trained (models.efficiency)

    def __post_init__(self) -> None:
        slot_named(self.slot)
        self.stage.require_split(self.num_processes)

    @property
    def digest(self) -> str:
        """Of all that decides what is trained."""
        told = [self.candidate_id, self.source, self.slot, self.seed, self.device, self.corpus]
        text = json.dumps([*told, asdict(self.stage), asdict(self.data)], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
