"""What is trained here: one configuration for all parts, at the 20M width on a GPU, tiny on a CPU in its place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from cognition.records import candidate_id_of
from models.sandbox.layer import Device
from models.sandbox.settings import SandboxSettings
from models.scale import Stage
from models.slots import published_source, slot_named
from models.trial import TrialJob
from orchestrator.config import Settings, compose, settings_from

SLOT = "token_mixer"
REFERENCE = slot_named(SLOT).reference
MEMORY_GB = 16.0  # of the machine's, for each candidate: the driver, and sixteen processes that compile
COMMON = (
    "+campaign=linear_attn",
    "data=stdlib",
    "data.tokenizer=bpe",
    "arms=grammar",
    "llm=none",
    "tracking=none",
    "cluster=local",
    "campaign.founders=[baselines,discoveries]",
    "stages.verify.best=2",
    "efficiency.measure=false",  # the card is lent for minutes
)
OVERRIDES: Mapping[Device, tuple[str, ...]] = {
    "cuda": (
        "scale=short_20m",
        "data.vocab_size=8192",
        "data.max_bytes=null",
        "pools=gpu",
        "pools.gate.limit=8",  # an examination at this width takes half a minute of a core, or more
        "flow.gate_deadline_s=300",
        f"sandbox.memory_gb={MEMORY_GB:g}",
        "budget.candidates=48",
    ),
    "cpu": (
        "scale=tiny",
        "data.vocab_size=320",
        "scale.stages.explore.size.vocab_size=320",
        "scale.stages.verify.size.vocab_size=320",
        "budget.candidates=4",
    ),
}


def keep_data_in(out: Path) -> None:
    """Shards lie there, for this process and those that it starts: as a key of the campaign it could not move."""
    os.environ["XDG_CACHE_HOME"] = str(out / "cache")


def overrides(device: Device, *more: str) -> tuple[str, ...]:
    """The campaign's, as on the command line."""
    return (*COMMON, *OVERRIDES[device], *more)


def settings_for(device: Device) -> Settings:
    """The campaign's settings, checked."""
    return settings_from(compose(overrides(device)))


def sandbox_for(device: Device) -> SandboxSettings:
    """As the campaign confines its candidates."""
    return settings_for(device).sandbox


def job_for(
    settings: Settings,
    device: Device,
    *,
    stage: Stage | None = None,
    mixer: str = REFERENCE,
    source: str | None = None,
    seed: int = 0,
    card_share: float = 1.0,
    name: str = "trial",
) -> TrialJob:
    """A trial of something published, or of a source, at the first stage of the scale."""
    text = published_source(SLOT, mixer) if source is None else source
    return TrialJob(
        trial_id=f"{name}-{mixer if source is None else 'own'}-{seed}",
        candidate_id=candidate_id_of(text),
        source=text,
        slot=SLOT,
        stage=settings.scale.stages[0] if stage is None else stage,
        seed=seed,
        data=settings.data,
        device=device,
        card_share=card_share,
    )
