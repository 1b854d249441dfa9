"""A probe: a named task with the short training and the evaluation that it gets, and where its sequences come from.

No torch: Ray workers import this. Shapes: B batch, N evaluation sequences, T time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from models.batch import Batch
from models.mappings import as_mapping, require_counts, require_keys, require_positive
from models.probes.copying import Compression, SelectiveCopying
from models.probes.memorization import Memorization
from models.probes.mqar import Mqar
from models.probes.recall import FuzzyRecall, InContextRecall, NoisyRecall
from models.probes.state_tracking import S3, S5, Parity
from models.probes.task import Task

PROBE_FOLDER = Path(__file__).resolve().parents[2] / "conf" / "probes"
TASKS: Mapping[str, type[Task]] = {
    "mqar": Mqar,
    "in_context_recall": InContextRecall,
    "fuzzy_recall": FuzzyRecall,
    "noisy_recall": NoisyRecall,
    "selective_copying": SelectiveCopying,
    "compression": Compression,
    "memorization": Memorization,
    "parity": Parity,
    "s3": S3,
    "s5": S5,
}
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_TRAINING_STREAM, _EVALUATION_STREAM = 0, 1  # under the seed: they keep evaluation apart from training


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSpec:
    """A synthetic task with a short training of its own; its score is called `<name>_accuracy`."""

    name: str
    task: Task
    length: int  # tokens in a sequence
    steps: int
    batch_size: int
    learning_rate: float
    eval_items: int  # sequences of the sealed evaluation

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                f"probe name {self.name!r}: use at most 40 small letters, digits and underscores, a letter first"
            )
        require_counts(self, "length", "steps", "batch_size", "eval_items")
        require_positive(self, "learning_rate")
        if self.length < self.task.min_length:
            raise ValueError(
                f"probe {self.name}: length is {self.length}; {self.task} takes {self.task.min_length} at least: "
                "lengthen it or ask for less"
            )

    @property
    def vocab_size(self) -> int:
        """Tokens that the task uses."""
        return self.task.vocab_size

    @property
    def chance(self) -> float:
        """Accuracy of the best model that lacks the ability in question."""
        return self.task.chance(self.length)

    @property
    def warmup_steps(self) -> int:
        return max(1, self.steps // 10)

    @property
    def report_every(self) -> int:
        return max(1, self.steps // 5)


def batches(spec: ProbeSpec, seed: int, start: int = 0) -> Iterator[Batch]:
    """Endless training batches, [B, T], from number `start` on; they depend on spec and seed alone."""
    rng = np.random.default_rng([seed, _TRAINING_STREAM])
    for number in count():
        batch = spec.task.sequences(spec.batch_size, spec.length, rng)
        if number >= start:
            yield batch


def eval_set(spec: ProbeSpec, seed: int) -> Batch:
    """`spec.eval_items` sequences, [N, T], from a random stream that training never draws from.

    Where a task has few sequences (short, small alphabets) some may be equal to training sequences by chance.
    """
    rng = np.random.default_rng([seed, _EVALUATION_STREAM])
    return spec.task.sequences(spec.eval_items, spec.length, rng)


def probe_from_mapping(where: str, name: str, entry: Any) -> ProbeSpec:
    """A probe from a mapping as scales have it: `task`, the task's options and the training's figures side by side.

    Raises:
        ValueError: the task is unknown, a key is missing or unknown, or a value fails its owner's check.
    """
    values = dict(as_mapping(where, entry))
    if "task" not in values:
        raise ValueError(f"{where} lacks task: name one of {', '.join(TASKS)}")
    kind = values.pop("task")
    task_type = _task_type(where, kind)
    options = {field.name for field in fields(task_type) if field.init}
    training = {field.name for field in fields(ProbeSpec)} - {"name", "task"}
    require_keys(f"{where} (task {kind})", values, options | training)
    try:
        task = task_type(**{key: values.pop(key) for key in options})
        return ProbeSpec(name=name, task=task, **values)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def probe_of(table: Mapping[str, Any]) -> ProbeSpec:
    """The probe from what `dataclasses.asdict` makes of one, as it travels between processes."""
    options = dict(table["task"])
    task_type = _task_type(f"probe {table['name']}", options.pop("kind"))
    return ProbeSpec(**{**table, "task": task_type(**options)})


def load_probes(name: str) -> tuple[ProbeSpec, ...]:
    """The probes in conf/probes/<name>.yaml, a mapping of probe names as a stage has it.

    Raises:
        ValueError: there is no such file, or a probe in it is refused.
    """
    path = PROBE_FOLDER / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(entry.stem for entry in PROBE_FOLDER.glob("*.yaml")))
        raise ValueError(f"no probes named {name!r} in {PROBE_FOLDER}; there are {known}")
    where = f"probes.{name}"
    entries = as_mapping(where, yaml.safe_load(path.read_text(encoding="utf-8")))
    return tuple(probe_from_mapping(f"{where}.{probe}", str(probe), entry) for probe, entry in entries.items())


def _task_type(where: str, kind: Any) -> type[Task]:
    if not isinstance(kind, str) or kind not in TASKS:
        raise ValueError(f"{where}: task {kind!r} is not known; use one of {', '.join(TASKS)}")
    return TASKS[kind]
