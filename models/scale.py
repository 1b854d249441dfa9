"""Sizes and budgets of a campaign's stages, read from conf/scale. No torch: Ray workers import this."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from itertools import combinations
from pathlib import Path
from typing import Any, TypeVar

import yaml

from models.mappings import as_mapping, require_keys, require_positive
from models.minimal_pairs.spec import PAIRS, PairSpec
from models.probes import ProbeSpec, probe_from_mapping, probe_of

SCALE_FOLDER = Path(__file__).resolve().parents[1] / "conf" / "scale"
AUTO = "auto"  # has no stages: a campaign puts another scale in its place
SPLITS = ("validation", "heldout")
TEXT, CANARY = "text", "canary"  # the tasks of every stage, beside its probes

PRECISIONS, SCHEDULES = ("float32", "bfloat16"), ("cosine", "wsd")

RecordT = TypeVar("RecordT", "ModelSize", "Recipe", "CanarySpec", "PairSpec", "Stage")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSize:
    """The host model; `ffn_width` is the reference baseline's, every other candidate gets a matched one."""

    num_layers: int
    hidden_size: int
    num_heads: int
    ffn_width: int
    vocab_size: int
    softmax_every: int = 0  # every so many layers one mixes tokens by softmax attention; 0: none does

    def __post_init__(self) -> None:
        require_positive(self, "num_layers", "hidden_size", "num_heads", "ffn_width", "vocab_size")
        if self.hidden_size % self.num_heads:
            raise ValueError(
                f"size.hidden_size is {self.hidden_size}, not a multiple of num_heads {self.num_heads}: change either"
            )
        if self.ffn_width % 8:
            raise ValueError(f"size.ffn_width is {self.ffn_width}; widths go in steps of 8: round it")
        if type(self.softmax_every) is not int or not 0 <= self.softmax_every <= self.num_layers:
            raise ValueError(
                f"size.softmax_every is {self.softmax_every!r}; use 1 to num_layers ({self.num_layers}), or 0 for none"
            )

    @property
    def softmax_layers(self) -> tuple[int, ...]:
        """Indices, from 0, of the layers that mix tokens by softmax attention: with 4, the 4th, the 8th, ..."""
        every = self.softmax_every
        return tuple(range(every - 1, self.num_layers, every)) if every else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How the steps of a training are computed; none of it changes what is trained on."""

    precision: str = "float32"  # "bfloat16": products under autocast; weights and optimiser stay in float32
    schedule: str = "cosine"  # down to a tenth of the peak; "wsd" stays at the peak until the last fifth
    compile: bool = False  # the text's training by torch.compile; eager where that fails, and on a CPU
    micro_batch: int | None = None  # most sequences at once; null: the batch, halved until it fits into memory

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"recipe.precision is {self.precision!r}; use one of {', '.join(PRECISIONS)}")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"recipe.schedule is {self.schedule!r}; use one of {', '.join(SCHEDULES)}")
        if not isinstance(self.compile, bool):
            raise ValueError(f"recipe.compile is {self.compile!r}; use true or false")
        if self.micro_batch is not None and (type(self.micro_batch) is not int or self.micro_batch < 1):
            raise ValueError(f"recipe.micro_batch is {self.micro_batch!r}; use a whole number above 0, or null")


@dataclass(frozen=True, slots=True, kw_only=True)
class CanarySpec:
    """The leak canary's short training on uniform tokens, and on how many fresh windows it is judged; models.canary."""

    alphabet: int  # tokens drawn from; ln(alphabet) nats is the bound
    length: int  # tokens in a sequence
    steps: int
    batch_size: int
    learning_rate: float
    eval_windows: int

    def __post_init__(self) -> None:
        require_positive(self, "alphabet", "length", "steps", "batch_size", "learning_rate", "eval_windows")
        if self.alphabet < 2 or self.eval_windows < 2 or self.length < 2:
            raise ValueError(
                f"canary: alphabet {self.alphabet}, eval_windows {self.eval_windows}, length {self.length}; "
                "each has to be 2 or more"
            )

    @property
    def bound_nats(self) -> float:
        """The lowest loss that honesty allows, in expectation."""
        return math.log(self.alphabet)

    @property
    def warmup_steps(self) -> int:
        return max(1, self.steps // 10)

    @property
    def report_every(self) -> int:
        return max(1, self.steps // 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One rung of evidence: a model size, how long it trains, and what is measured afterwards."""

    name: str
    size: ModelSize
    batch_size: int  # sequences
    length: int  # tokens in a sequence
    steps: int
    learning_rate: float  # peak
    warmup_steps: int
    report_every: int  # steps between two points of the curve
    eval_windows: int  # windows of `length` tokens in the sealed evaluation
    split: str  # where the sealed loss is measured: "validation" or "heldout"
    audit_positions: int  # positions recomputed from the prefix alone
    deadline_s: float  # for the whole trial, probes and evaluation included
    expected_s: float  # what a trial takes, as measured; campaigns estimate from it until they know better
    probes: tuple[ProbeSpec, ...]
    canary: CanarySpec
    seeds: tuple[int, ...]
    recipe: Recipe = field(default_factory=Recipe)
    minimal_pairs: PairSpec | None = None  # None: the stage has none

    def __post_init__(self) -> None:
        require_positive(
            self,
            *("batch_size", "length", "steps", "learning_rate", "report_every", "eval_windows", "audit_positions"),
            *("deadline_s", "expected_s"),
        )
        if not 0 <= self.warmup_steps < self.steps:
            raise ValueError(f"stage {self.name}: warmup_steps is {self.warmup_steps}; keep it in [0, {self.steps})")
        if self.split not in SPLITS:
            raise ValueError(f"stage {self.name}: split is {self.split!r}; use one of {', '.join(SPLITS)}")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds) or min(self.seeds) < 0:
            raise ValueError(
                f"stage {self.name}: seeds are {self.seeds}; give at least one, all different, none below 0"
            )
        names = [probe.name for probe in self.probes]
        if len(set(names)) != len(names):
            raise ValueError(f"stage {self.name}: probes are {names}; name each once")
        for probe in self.probes:
            if probe.name in (TEXT, CANARY, PAIRS):
                raise ValueError(f"stage {self.name}: a probe is named {probe.name!r}, as every stage's own: rename it")
            if probe.vocab_size > self.size.vocab_size:
                raise ValueError(
                    f"stage {self.name}: probe {probe.name} uses {probe.vocab_size} tokens, the model has "
                    f"{self.size.vocab_size}: make {probe.task} smaller or raise size.vocab_size"
                )
        if self.canary.alphabet > self.size.vocab_size:
            raise ValueError(
                f"stage {self.name}: canary.alphabet is {self.canary.alphabet}, the model has {self.size.vocab_size} "
                "tokens: lower it"
            )

    def plan(self, task: str) -> Stage | ProbeSpec | CanarySpec:
        """How long and at what rate a task of this stage trains: the text (the stage itself), the canary or a probe."""
        plans: dict[str, Stage | ProbeSpec | CanarySpec] = {TEXT: self, CANARY: self.canary}
        plans.update({probe.name: probe for probe in self.probes})
        if task not in plans:
            raise ValueError(f"stage {self.name} has no task {task!r}; it has {', '.join(plans)}")
        return plans[task]

    def require_split(self, num_processes: int) -> None:
        """Every batch can be shared out evenly, the canary's and the probes' too. Raises ValueError."""
        if type(num_processes) is not int or num_processes < 1:
            raise ValueError(f"stage {self.name}: num_processes is {num_processes!r}; use a whole number above 0")
        for task in (TEXT, CANARY, *(probe.name for probe in self.probes)):
            batch_size = self.plan(task).batch_size
            if batch_size % num_processes:
                raise ValueError(
                    f"stage {self.name}: the batch_size of its {task} is {batch_size}, not a multiple of the "
                    f"{num_processes} processes that share it out: change either"
                )

    @property
    def tokens(self) -> int:
        """Text tokens that one trial trains on."""
        return self.batch_size * self.length * self.steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """A campaign's stages, cheapest first. No seed serves two stages, so that verification starts afresh."""

    name: str
    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError(f"scale {self.name} has no stages: give at least one")
        for one, other in combinations(self.stages, 2):
            if one.name == other.name:
                raise ValueError(f"scale {self.name} has two stages named {one.name!r}: rename one")
            if shared := set(one.seeds) & set(other.seeds):
                raise ValueError(
                    f"scale {self.name}: stages {one.name} and {other.name} share seeds {sorted(shared)}; "
                    "verification needs fresh ones: change either"
                )

    def stage(self, name: str) -> Stage:
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise ValueError(f"scale {self.name} has no stage {name!r}; it has {', '.join(s.name for s in self.stages)}")


def scale_from_mapping(mapping: Mapping[str, Any]) -> Scale:
    """A scale from a conf/scale mapping: stages keyed by name, probes keyed by name.

    Raises:
        ValueError: a key is missing or unknown, or a value fails its owner's check.
    """
    require_keys("scale", mapping, {"name", "stages"})
    stages = tuple(_stage(name, entry) for name, entry in as_mapping("scale.stages", mapping["stages"]).items())
    return Scale(name=str(mapping["name"]), stages=stages)


def size_of(table: Mapping[str, Any]) -> ModelSize:
    """The size from what `dataclasses.asdict` makes of one, as it travels between processes."""
    return ModelSize(**table)


def stage_of(table: Mapping[str, Any]) -> Stage:
    """The stage from what `dataclasses.asdict` makes of one."""
    return Stage(
        **{
            **table,
            "size": size_of(table["size"]),
            "probes": tuple(probe_of(probe) for probe in table["probes"]),
            "canary": CanarySpec(**table["canary"]),
            "recipe": Recipe(**table["recipe"]),
            "seeds": tuple(table["seeds"]),
            "minimal_pairs": PairSpec(**pairs) if (pairs := table.get("minimal_pairs")) is not None else None,
        }
    )


def load_scale(name: str) -> Scale:
    """The scale in conf/scale/<name>.yaml. Raises ValueError for any other name, `auto` included."""
    known = sorted(entry.stem for entry in SCALE_FOLDER.glob("*.yaml") if entry.stem != AUTO)
    if name not in known:
        raise ValueError(f"no scale named {name!r} in {SCALE_FOLDER}; there are {', '.join(known)}")
    path = SCALE_FOLDER / f"{name}.yaml"
    return scale_from_mapping(as_mapping(str(path), yaml.safe_load(path.read_text(encoding="utf-8"))))


def _stage(name: str, entry: Any) -> Stage:
    where = f"scale.stages.{name}"
    values = dict(as_mapping(where, entry))
    probes = as_mapping(f"{where}.probes", values.get("probes") or {})
    values["size"] = _record(ModelSize, f"{where}.size", values.get("size"))
    values["probes"] = tuple(
        probe_from_mapping(f"{where}.probes.{probe}", str(probe), probes[probe]) for probe in probes
    )
    values["canary"] = _record(CanarySpec, f"{where}.canary", values.get("canary"))
    values["seeds"] = tuple(values.get("seeds") or ())
    if values.get("minimal_pairs") is not None:
        values["minimal_pairs"] = _record(PairSpec, f"{where}.minimal_pairs", values["minimal_pairs"])
    values["recipe"] = _record(Recipe, f"{where}.recipe", values.get("recipe") or {})
    return _record(Stage, where, values, name=str(name))


def _record(kind: type[RecordT], where: str, entry: Any, **known: Any) -> RecordT:
    values = {**as_mapping(where, entry), **known}
    optional = {field.name for field in fields(kind) if field.default is not MISSING}
    require_keys(where, values, {field.name for field in fields(kind)} - optional, optional)
    return kind(**values)
