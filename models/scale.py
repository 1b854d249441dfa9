"""Sizes and budgets of a campaign's stages, read from conf/scale. No torch: Ray workers import this."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import combinations
from pathlib import Path
from typing import Any, TypeVar

import yaml

SCALE_FOLDER = Path(__file__).resolve().parents[1] / "conf" / "scale"
SPLITS = ("validation", "heldout")
PROBES = ("mqar",)
TEXT, CANARY = "text", "canary"  # the tasks of every stage, beside its probes

RecordT = TypeVar("RecordT", "ModelSize", "ProbeSpec", "CanarySpec", "Stage")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSize:
    """The host model; `ffn_width` is the reference baseline's, every other mixer gets a matched one."""

    num_layers: int
    hidden_size: int
    num_heads: int
    ffn_width: int
    vocab_size: int

    def __post_init__(self) -> None:
        _require_positive(self, "num_layers", "hidden_size", "num_heads", "ffn_width", "vocab_size")
        if self.hidden_size % self.num_heads:
            raise ValueError(
                f"size.hidden_size is {self.hidden_size}, not a multiple of num_heads {self.num_heads}: change either"
            )
        if self.ffn_width % 8:
            raise ValueError(f"size.ffn_width is {self.ffn_width}; widths go in steps of 8: round it")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSpec:
    """A synthetic task with a short training of its own; see models.probes for what the fields mean to each task."""

    name: str
    num_pairs: int  # key-value pairs to remember in one sequence
    num_keys: int  # alphabet of keys; as many values
    length: int  # tokens in a sequence
    steps: int
    batch_size: int
    learning_rate: float
    eval_items: int  # sequences of the sealed evaluation

    def __post_init__(self) -> None:
        _require_positive(self, "num_pairs", "num_keys", "length", "steps", "batch_size", "learning_rate", "eval_items")
        if self.name not in PROBES:
            raise ValueError(f"probe {self.name!r} is not known; use one of {', '.join(PROBES)}")
        if self.num_keys < self.num_pairs:
            raise ValueError(
                f"probe {self.name}: {self.num_pairs} pairs need as many different keys, num_keys is {self.num_keys}"
            )
        if self.length < 4 * self.num_pairs:
            raise ValueError(
                f"probe {self.name}: length is {self.length}; {self.num_pairs} pairs and their queries need "
                f"{4 * self.num_pairs}: lengthen it or drop pairs"
            )

    @property
    def vocab_size(self) -> int:
        """Tokens that the task uses: a blank, the keys, the values."""
        return 1 + 2 * self.num_keys

    @property
    def warmup_steps(self) -> int:
        return max(1, self.steps // 10)

    @property
    def report_every(self) -> int:
        return max(1, self.steps // 5)


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
        _require_positive(self, "alphabet", "length", "steps", "batch_size", "learning_rate", "eval_windows")
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

    def __post_init__(self) -> None:
        _require_positive(
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
            if probe.vocab_size > self.size.vocab_size:
                raise ValueError(
                    f"stage {self.name}: probe {probe.name} uses {probe.vocab_size} tokens, the model has "
                    f"{self.size.vocab_size}: lower num_keys"
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
    _require_keys("scale", mapping, {"name", "stages"})
    stages = tuple(_stage(name, entry) for name, entry in _as_mapping("scale.stages", mapping["stages"]).items())
    return Scale(name=str(mapping["name"]), stages=stages)


def load_scale(name: str) -> Scale:
    """The scale in conf/scale/<name>.yaml."""
    path = SCALE_FOLDER / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(entry.stem for entry in SCALE_FOLDER.glob("*.yaml")))
        raise ValueError(f"no scale named {name!r} in {SCALE_FOLDER}; there are {known}")
    return scale_from_mapping(_as_mapping(str(path), yaml.safe_load(path.read_text(encoding="utf-8"))))


def _stage(name: str, entry: Any) -> Stage:
    where = f"scale.stages.{name}"
    values = dict(_as_mapping(where, entry))
    probes = _as_mapping(f"{where}.probes", values.get("probes") or {})
    values["size"] = _record(ModelSize, f"{where}.size", values.get("size"))
    values["probes"] = tuple(
        _record(ProbeSpec, f"{where}.probes.{probe}", probes[probe], name=str(probe)) for probe in probes
    )
    values["canary"] = _record(CanarySpec, f"{where}.canary", values.get("canary"))
    values["seeds"] = tuple(values.get("seeds") or ())
    return _record(Stage, where, values, name=str(name))


def _record(kind: type[RecordT], where: str, entry: Any, **known: Any) -> RecordT:
    values = {**_as_mapping(where, entry), **known}
    _require_keys(where, values, {field.name for field in fields(kind)})
    return kind(**values)


def _as_mapping(where: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where} is {value!r}; give a mapping of names to values")
    return value


def _require_keys(where: str, mapping: Mapping[str, Any], expected: set[str]) -> None:
    if missing := expected - set(mapping):
        raise ValueError(f"{where} lacks {', '.join(sorted(missing))}: add it")
    if unknown := set(mapping) - expected:
        raise ValueError(f"{where} has unknown {', '.join(sorted(unknown))}; it takes {', '.join(sorted(expected))}")


def _require_positive(record: ModelSize | ProbeSpec | CanarySpec | Stage, *names: str) -> None:
    for name in names:
        value = getattr(record, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise ValueError(f"{type(record).__name__}.{name} is {value!r}; give a number above 0")
