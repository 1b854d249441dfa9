"""The configuration of a campaign: composed once by Hydra from conf/, checked once by the dataclasses named here.

Each group's dataclass stands beside its owner and checks itself; this module only turns composed values into them.
"""

from __future__ import annotations

import math
import os
import re
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from agents.brief import Evidence
from agents.fitness import FitnessSettings
from agents.grammar.proposer import GrammarSettings
from agents.llm.choice import with_provider
from agents.llm.prices import prices_of
from agents.llm.settings import LlmSettings
from cognition.folders import Place, joined, require_place, with_region
from cognition.novelty import NoveltySettings
from cognition.records import ReportKind
from models.anomalies import AnomalyLimits
from models.checkpoints import CheckpointSettings
from models.data import DataSpec
from models.efficiency.settings import EfficiencySettings
from models.sandbox.settings import SandboxSettings
from models.scale import Scale, load_scale, scale_from_mapping
from models.slots import SLOTS
from orchestrator.arms import ArmSettings, resolved_arms
from orchestrator.budget import BudgetSettings
from orchestrator.cognition_settings import CognitionSettings
from orchestrator.early_stopping.settings import NONE
from orchestrator.errors import UsageError
from orchestrator.founders import founder_names
from orchestrator.language import recorded, require_keys
from orchestrator.pools import GATE, Pool, check_pools
from orchestrator.ray_job import require_lasting
from orchestrator.selection import SelectionSettings
from orchestrator.stages import Ladder, StageSettings, stages_of
from orchestrator.values import convert, suggest

CONF = Path(__file__).resolve().parent.parent / "conf"

TRACKING_MODES = ("auto", "online", "offline", "none")
_OPEN = ("pools.", "stages.")  # groups of named entries, whose keys are checked when they are read
_NO_SCALE = "scale is {}: choose one with scale=auto|cpu|tiny"


def _positive(name: str, value: float | None, *, or_null: bool = False) -> None:
    if value is not None and not 0 < value < math.inf:
        raise ValueError(f"{name} is {value}: it has to be a number above zero" + ", or null for no limit" * or_null)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """Where the campaign's folder is."""

    name: str | None = None
    root: str = "runs"
    fresh: bool = False

    def __post_init__(self) -> None:
        if self.name is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", self.name):
            raise ValueError(
                f"run.name is {self.name!r}: it becomes a folder's name, use letters, digits, '.', '_' and '-'"
            )
        try:
            require_place(self.root)
        except ValueError as error:
            raise ValueError(f"run.root: {error}") from error

    @property
    def is_remote(self) -> bool:
        """Whether it is in an object store."""
        return "://" in self.root and not self.root.startswith("file://")


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignSettings:
    """What is searched, and from where."""

    name: str
    slot: str = "token_mixer"
    founders: tuple[str, ...] = ("baselines",)  # the reference baseline first, folders opened up
    noise_seeds: int = 1
    anchors: Mapping[str, float] = field(default_factory=dict)  # published names -> scores that hold the judge's scale

    def __post_init__(self) -> None:
        if self.slot not in SLOTS:
            raise ValueError(f"campaign.slot is {self.slot!r}: known slots are {', '.join(SLOTS)}")
        if self.noise_seeds < 1:
            raise ValueError(
                f"campaign.noise_seeds is {self.noise_seeds}: at least 1 is needed, or no effect has an error bar"
            )
        for name, score in self.anchors.items():
            if name not in SLOTS[self.slot].published:
                published = ", ".join(SLOTS[self.slot].published)
                raise ValueError(f"campaign.anchors has {name!r}: published for slot {self.slot} are {published}")
            if not 1 <= score <= 10:
                raise ValueError(f"campaign.anchors.{name} is {score}: the judge's scale is 1 to 10")
        # Opened up here, so that a folder which changes later is another configuration and moves no number.
        object.__setattr__(self, "founders", founder_names(SLOTS[self.slot], self.founders))


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowSettings:
    """How candidates flow through the loop."""

    look_ahead: int | None = None
    most_in_flight: int = 64
    max_repairs: int = 3
    gate_deadline_s: float = 60.0
    grace_s: float = 30.0
    store_patience_s: float = 600.0

    def __post_init__(self) -> None:
        if self.look_ahead is not None and self.look_ahead < 1:
            raise ValueError(f"flow.look_ahead is {self.look_ahead}: use 1 or more, or null to let it adapt")
        if self.most_in_flight < 1:
            raise ValueError(f"flow.most_in_flight is {self.most_in_flight}: use 1 or more")
        if self.max_repairs < 0:
            raise ValueError(f"flow.max_repairs is {self.max_repairs}: use 0 or more")
        _positive("flow.gate_deadline_s", self.gate_deadline_s)
        _positive("flow.store_patience_s", self.store_patience_s)
        if not 0 <= self.grace_s < math.inf:
            raise ValueError(f"flow.grace_s is {self.grace_s}: use seconds, or 0 to finish nothing when stopping")


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxSettings:
    """The arm `inbox`: people, and agents of others."""

    timeout_s: float = 86_400.0

    def __post_init__(self) -> None:
        _positive("inbox.timeout_s", self.timeout_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings:
    """Where trials run."""

    address: str | None = None
    slots: int | None = None
    connect_timeout_s: float = 10.0
    head_patience_s: float = 20.0

    def __post_init__(self) -> None:
        _positive("cluster.slots", self.slots, or_null=True)
        _positive("cluster.connect_timeout_s", self.connect_timeout_s)
        if not 1 <= self.head_patience_s <= 30:
            raise ValueError(
                f"cluster.head_patience_s is {self.head_patience_s}: use 1 to 30, since Ray itself ends a process "
                "whose head has been gone for a minute"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackingSettings:
    """W&B."""

    mode: str = "auto"
    project: str = "architecture-research"

    def __post_init__(self) -> None:
        if self.mode not in TRACKING_MODES:
            raise ValueError(f"tracking.mode is {self.mode!r}: known modes are {', '.join(TRACKING_MODES)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that a campaign is told."""

    run: RunSettings
    campaign: CampaignSettings
    budget: BudgetSettings
    flow: FlowSettings
    novelty: NoveltySettings
    fitness: FitnessSettings
    grammar: GrammarSettings
    scale: Scale
    stages: Mapping[str, StageSettings]  # by the names of the scale's stages, in its order
    data: DataSpec
    arms: ArmSettings
    llm: LlmSettings
    inbox: InboxSettings
    cognition: CognitionSettings
    selection: SelectionSettings
    cluster: ClusterSettings
    pools: Mapping[str, Pool]
    tracking: TrackingSettings
    sandbox: SandboxSettings
    anomalies: AnomalyLimits
    checkpoints: CheckpointSettings
    efficiency: EfficiencySettings
    seed: int = 0
    deterministic: bool = False

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}: use 0 or more")
        Ladder(scale=self.scale, settings=self.stages)  # checks that they fit
        try:
            founder_names(SLOTS[self.campaign.slot], self.llm.calibration)
        except ValueError as error:
            raise ValueError(f"llm.calibration: {str(error).replace('campaign.founders has', 'it has')}") from error
        for stage in self.scale.stages:
            if not SLOTS[self.campaign.slot].candidate_layers(stage.size):
                raise ValueError(
                    f"scale.stages.{stage.name}.size.softmax_every is {stage.size.softmax_every}: no layer is left to "
                    f"the candidates of slot {self.campaign.slot}; use 2 or more, or 0 for none"
                )
        if self.run.is_remote and "inbox" in self.arms.drawn:
            raise ValueError(
                f"arms draws inbox, whose briefs and answers are files for people, and run.root is {self.run.root}: "
                "use a run.root on this machine, or other arms"
            )
        if self.novelty.ask_model and not self.llm.plays("judge"):
            raise ValueError(
                "novelty.ask_model is true and no language model plays the judge: name models (llm=local), or leave it "
                "false"
            )
        above = [upper.name for _, upper in self.ladder.climbs if self.stages[upper.name].stopping.policy != NONE]
        if self.deterministic and above:
            raise ValueError(
                f"deterministic is true and stages.{above[0]}.stopping.policy is not none: above the first stage the "
                "clock decides who is compared with whom; use none there"
            )
        most_peers = self.stages[self.ladder.first.name].stopping.most_peers
        if self.deterministic and (self.flow.look_ahead or 0) > most_peers:
            raise ValueError(
                f"deterministic is true and flow.look_ahead is {self.flow.look_ahead}, more than "
                f"stages.{self.ladder.first.name}.stopping.most_peers ({most_peers}): use a smaller look-ahead"
            )
        check_pools(self.pools)
        self._check_budget()
        for name, run in self.stages.items():
            if run.pool not in self.pools or run.pool == GATE:
                trials = ", ".join(pool for pool in self.pools if pool != GATE)
                raise ValueError(f"stages.{name}.pool is {run.pool!r}: pools of trials are {trials}")
            try:
                self.scale.stage(name).require_split(self.pools[run.pool].num_processes)
            except ValueError as error:
                raise ValueError(f"pools.{run.pool} trains stage {name}: {error}") from error

    def _check_budget(self) -> None:
        """Raise ValueError where a limit could not bind, or lets nothing be trained."""
        stage, budget = self.ladder.first, self.budget
        pool = self.stages[stage.name].pool
        gpus = self.pools[pool].gpus if pool in self.pools else 0.0
        if budget.gpu_hours is not None and not any(trained.gpus for trained in self.pools.values()):
            raise ValueError(
                f"budget.gpu_hours is {budget.gpu_hours:g}, and no pool takes a GPU: use budget.slot_hours or pools=gpu"
            )
        for name, limit, taken in (("slot_hours", budget.slot_hours, 1.0), ("gpu_hours", budget.gpu_hours, gpus)):
            worst = stage.deadline_s * taken / 3600
            if limit is not None and worst > limit:
                raise ValueError(
                    f"budget.{name} is {limit:g}, less than one trial of stage {stage.name} may take ({worst:.4g}, its "
                    f"deadline_s): use that or more"
                )

    def may_repair(self, evidence: Evidence) -> bool:
        """Founders are whatever their files say; everything else may be mended, so often."""
        left = evidence.report.attempt < self.flow.max_repairs
        if evidence.report.kind is ReportKind.no_proposal:
            return False  # models were asked again, and others instead, before it came to that
        return evidence.failed and left and evidence.report.number >= len(self.campaign.founders)

    @property
    def ladder(self) -> Ladder:
        return Ladder(scale=self.scale, settings=self.stages)

    @property
    def contestants(self) -> Sequence[int]:
        """The numbers that may climb: all but the baselines, which are what they have to beat."""
        founders = self.campaign.founders
        own = [n for n, name in enumerate(founders) if name not in SLOTS[self.campaign.slot].baselines]
        return (*own, *range(len(founders), len(founders) + self.budget.candidates))

    @property
    def num_contestants(self) -> int:
        """How many they are."""
        return self.budget.candidates + len(self.campaign.founders) - self.num_baselines

    @property
    def num_baselines(self) -> int:
        """Of the founders."""
        return sum(name in SLOTS[self.campaign.slot].baselines for name in self.campaign.founders)

    @property
    def run_folder(self) -> Place:
        """A path, or the URI of an object store."""
        root = self.run.root
        return joined(root if "://" in root else Path(root), self.run.name or self.campaign.name)

    def checkpoints_of(self, run_folder: Place) -> CheckpointSettings:
        """Where that run's checkpoints go, spelled out for processes on other machines."""
        spelled = self.checkpoints.within(run_folder)
        return replace(spelled, uri=with_region(str(spelled.uri)))


def known_campaigns() -> tuple[str, ...]:
    """Names of the campaigns in conf/campaign."""
    return tuple(sorted(path.stem for path in (CONF / "campaign").glob("*.yaml")))


def compose(overrides: Sequence[str]) -> dict[str, Any]:
    """Compose conf/ with the overrides into plain values.

    Raises:
        UsageError: unknown campaign, group option or key, or an override that does not parse.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(CONF), job_name="orchestrator"):
            config = hydra_compose("config", overrides=[_opened(override) for override in overrides])
        values = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise UsageError(f"{error.full_key} has no value: set {error.full_key}=...") from error
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        if "interpolation '${scale}'" in str(error):  # stages are looked up by it, before anything else misses it
            raise UsageError(_NO_SCALE.format(None)) from error
        raise UsageError(_one_line(str(error))) from error
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def settings_from(
    values: Mapping[str, Any], more_arms: Iterable[str] = (), environment: Mapping[str, str] | None = None
) -> Settings:
    """Check composed values and turn them into `Settings`; `more_arms` are those whose proposers are handed in.

    `environment` says which language models there are; the process's own unless given.

    Raises:
        UsageError: a value of the wrong type or out of range, an unknown key, or a model that cannot be had.
    """
    values = dict(values)
    if "campaign" not in values:
        raise UsageError(f"no campaign chosen: add +campaign=NAME (known: {', '.join(known_campaigns())})")
    try:
        scale = values.pop("scale", None)
        if not isinstance(scale, Mapping):
            raise ValueError(_NO_SCALE.format(repr(scale)))
        resolved = load_scale("cpu") if scale.get("name") == "auto" else scale_from_mapping(scale)
        parts: dict[str, Any] = {
            "scale": resolved,
            "stages": stages_of(resolved, values.pop("stages", None), _shipped("stages")),
        }
        for name, kind in (("seed", int), ("deterministic", bool)):
            if name in values:
                parts[name] = convert(kind, values.pop(name), name)
        hints = typing.get_type_hints(Settings)
        if isinstance(values.get("llm"), Mapping):
            values["llm"] = with_provider(values["llm"], CONF, os.environ if environment is None else environment)
        for name in list(values):
            if name not in hints:
                raise ValueError(f"unknown key {name!r}{suggest(name, hints)}")
            parts[name] = convert(hints[name], values.pop(name), name)
        missing = [name for name in hints if name not in parts and name not in ("seed", "deterministic")]
        if missing:
            raise ValueError(f"the configuration lacks {', '.join(missing)}: take away the override that deletes it")
        parts["llm"] = recorded(parts["llm"])
        require_keys(parts["llm"], os.environ if environment is None else environment)
        parts["arms"] = resolved_arms(parts["arms"], parts["llm"], more_arms)
        settings = Settings(**parts)
        for key, place in (("run.root", settings.run.root), ("checkpoints.uri", settings.checkpoints.uri)):
            require_lasting(key, place, os.environ if environment is None else environment)
        prices_of(settings.llm)
        return settings
    except (ValueError, TypeError) as error:
        raise UsageError(_one_line(str(error))) from error


def _opened(override: str) -> str:
    """As Hydra wants a key of a group whose names are the user's: what conf/ does not say of it is added."""
    return f"++{override}" if override.startswith(_OPEN) else override


def _shipped(group: str) -> Any:
    """What conf/config.yaml itself says of a group, before any override."""
    return yaml.safe_load((CONF / "config.yaml").read_text(encoding="utf-8"))[group]


def _one_line(message: str) -> str:
    lines = [line.strip() for line in message.split("Config search path")[0].splitlines()]
    noise = ("full_key:", "object_type=", "See https", "To append to your config")
    kept = [line for line in lines if line and not line.startswith(noise)]
    return " ".join(kept).replace("In 'config': ", "")
