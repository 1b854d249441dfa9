"""How the stages of a scale are run, and by which rule one is climbed to from the one below."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from models.scale import Scale, Stage
from orchestrator.early_stopping.settings import StoppingSettings
from orchestrator.values import read_record

EXPLORING, VERIFYING = "explore", "verify"  # the pools of stages that nothing is said of
_BEST = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSettings:
    """One stage: the pool of its trials, and who climbs to it. The first stage takes every candidate."""

    pool: str
    best: int | None = None  # so many climb for certain ...
    share: float | None = None  # ... or this share of those expected below, one at least
    stopping: StoppingSettings = field(default_factory=StoppingSettings)
    after: float = 0.8  # share of those expected below that has ended before the best so far climb early
    baselines: int | None = 1  # so many climb to it, the best at exploration first; None: all
    more_seeds: int = 0  # beyond the scale's, one by one, for whom they may still settle something

    def __post_init__(self) -> None:
        if not self.pool:
            raise ValueError("pool is empty: name one of pools")
        if self.best is not None and self.best < 0:
            raise ValueError(f"best is {self.best}: use 0 (nobody climbs) or more")
        if self.share is not None and not 0 < self.share <= 1:
            raise ValueError(f"share is {self.share}: use a number above 0 and up to 1")
        if not 0 < self.after <= 1:
            raise ValueError(f"after is {self.after}: use a number above 0 and up to 1 (nobody climbs early)")
        if self.baselines is not None and self.baselines < 1:
            raise ValueError(f"baselines is {self.baselines}: use 1 or more, or null for all; claims need one")
        if self.more_seeds < 0:
            raise ValueError(f"more_seeds is {self.more_seeds}: use 0 (none) or more")

    def rivals(self, num_baselines: int) -> int:
        """How many of the baselines climb."""
        return num_baselines if self.baselines is None else min(self.baselines, num_baselines)

    def places(self, num_expected: int) -> int:
        """How many of those expected below climb for certain."""
        if num_expected <= 0:
            return 0
        if self.share is not None:
            return max(1, round(self.share * num_expected))
        return min(self.best or 0, num_expected)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """The stages of a scale, cheapest first: every candidate is explored at the first and climbs to the others.

    Raises:
        ValueError: settings of other stages than the scale's, or a rule for the wrong stage.
    """

    scale: Scale
    settings: Mapping[str, StageSettings]

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.scale.stages]
        if names != list(self.settings):
            raise ValueError(f"stages are {', '.join(self.settings)}: scale {self.scale.name} has {', '.join(names)}")
        first = self.settings[self.first.name]
        if first.best is not None or first.share is not None:
            raise ValueError(
                f"stages.{self.first.name} has best {first.best} and share {first.share}: it is the first stage, which "
                "takes every candidate; leave both null"
            )
        for _, upper in self.climbs:
            rule = self.settings[upper.name]
            if (rule.best is None) == (rule.share is None):
                raise ValueError(
                    f"stages.{upper.name} has best {rule.best} and share {rule.share}: set one of them and leave the "
                    "other null"
                )
            others = {seed for stage in self.scale.stages if stage != upper for seed in stage.seeds}
            if shared := others & set(self.more_seeds(upper)):
                raise ValueError(
                    f"stages.{upper.name}.more_seeds is {rule.more_seeds}: seeds {sorted(shared)} would follow, which "
                    "are another stage's; use fewer, or change the scale's seeds"
                )
        if self.settings[self.first.name].more_seeds:
            raise ValueError(
                f"stages.{self.first.name}.more_seeds is {self.settings[self.first.name].more_seeds}: it is the first "
                "stage, where nothing is claimed; use 0"
            )

    @property
    def first(self) -> Stage:
        """Where every candidate is explored."""
        return self.scale.stages[0]

    @property
    def climbs(self) -> tuple[tuple[Stage, Stage], ...]:
        """Neighbouring stages, lower and upper, from the bottom."""
        return tuple(pairwise(self.scale.stages))

    def rule(self, stage: Stage) -> StageSettings:
        return self.settings[stage.name]

    def more_seeds(self, stage: Stage) -> tuple[int, ...]:
        """What may be given beyond the stage's seeds, in order: the numbers that follow the largest of these."""
        first = max(stage.seeds) + 1
        return tuple(range(first, first + self.rule(stage).more_seeds))

    def places(self, num_contestants: int) -> dict[str, int]:
        """How many climb to each stage above the first for certain, of so many that are expected at the first."""
        found, num = {}, num_contestants
        for _, upper in self.climbs:
            num = found[upper.name] = self.rule(upper).places(num)
        return found


def stages_of(scale: Scale, given: Any, shipped: Mapping[str, Any]) -> Mapping[str, StageSettings]:
    """The settings of each stage of the scale, in its order; where nothing is said of a stage it gets the defaults.

    `shipped` is what conf/config.yaml says. An entry of it that nobody has touched binds no scale whose stages have
    other names.

    Raises:
        ValueError: an entry that is no stage of the scale, or a value that does not fit.
    """
    if not isinstance(given, Mapping):
        raise ValueError(f"stages is {given!r}: a group of keys is needed, by the names of the scale's stages")
    names = [stage.name for stage in scale.stages]
    for name, values in given.items():
        if name not in names and values != shipped.get(name):
            raise ValueError(f"stages.{name}: scale {scale.name} has no such stage; it has {', '.join(names)}")
    found = {}
    for position, name in enumerate(names):
        values = given.get(name, {})
        if isinstance(values, Mapping):
            values = {**_defaults(values, first=position == 0), **values}
        try:
            found[name] = read_record(StageSettings, values, f"stages.{name}")
        except ValueError as error:
            told = str(error)
            raise ValueError(told if f"stages.{name}" in told else f"stages.{name}.{told}") from error
    return found


def _defaults(values: Mapping[str, Any], *, first: bool) -> Mapping[str, Any]:
    if first:
        return {"pool": EXPLORING}
    return {"pool": VERIFYING} if {"best", "share"} & set(values) else {"pool": VERIFYING, "best": _BEST}
