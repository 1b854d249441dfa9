"""A recorded trial, trained again through the sandbox: the same job, the same seed, and whether the figures agree."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from cognition.records import Metric, Score, Trial, candidate_id_of
from models.data import DataSpec, load_corpus
from models.sandbox.layer import Device
from models.sandbox.settings import SandboxSettings
from models.sandbox.wire import Array
from models.scale import stage_of
from models.trial import TrialJob, TrialRun

RECORD = "reproduce.json"
PACKAGES = ("torch", "numpy", "triton", "flash-linear-attention", "einops")  # what figures depend on
OTHERS = ("pyarrow", "tokenizers", "safetensors", "pyyaml", "py-landlock", "pyseccomp")  # what training needs beside
LOSS_TOLERANCE = 0.02  # nats, for round-off on another machine: chosen below the noise of seeds
ACCURACY_TOLERANCE = 0.05
_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What figures depend on. All of it has to be the same for the same bits, and on a GPU even that is not enough."""

    python: str
    processor: str
    versions: Mapping[str, str | None]
    gpu: str = ""  # name of the first one; "": none is seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One finished trial: how it was trained, and what came of it."""

    job: TrialJob
    corpus: str  # digest
    scores: tuple[Score, ...]
    num_parameters: int | None
    weights: str  # digest of the exported ones
    machine: Machine  # where they come from


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """The trial, trained once more."""

    trial: Trial
    weights: Mapping[str, Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure then and now."""

    name: str
    then: float
    now: float
    tolerance: float

    @property
    def agrees(self) -> bool:
        return abs(self.now - self.then) <= self.tolerance


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Whether two trainings agree; where bits are owed they have to, to the bit."""

    figures: tuple[Figure, ...]
    same_weights: bool
    bits_owed: bool

    @property
    def is_equal(self) -> bool:
        """To the bit."""
        return self.same_weights and all(figure.then == figure.now for figure in self.figures)

    @property
    def agrees(self) -> bool:
        return self.is_equal if self.bits_owed else all(figure.agrees for figure in self.figures)


def train_again(
    job: TrialJob, sandbox: SandboxSettings, on_point: Callable[[Metric], None] = lambda point: None
) -> Again:
    """Train in jailed children, as a campaign does. Raises ValueError and SandboxError as trials do."""
    device: Device = "cuda" if job.device.startswith("cuda") else "cpu"
    with sandbox.fork_server(device) as server:
        run = TrialRun(job, server)
        while not isinstance(step := run.advance(), Trial):
            on_point(step)
        return Again(trial=step, weights=run.weights)


def compared(recorded: Recorded, again: Again) -> Comparison:
    """Then and now; what failed now has no figures, and agrees with nothing."""
    now = {score.name: score.value for score in again.trial.scores}
    figures = []
    for score in recorded.scores:
        tolerance = ACCURACY_TOLERANCE if score.chance is not None else LOSS_TOLERANCE
        value = now.get(score.name, float("nan"))
        figures.append(Figure(name=score.name, then=score.value, now=value, tolerance=tolerance))
    return Comparison(
        figures=tuple(figures),
        same_weights=digest_of(again.weights) == recorded.weights,
        bits_owed=owes_bits(recorded),
    )


def owes_bits(recorded: Recorded) -> bool:
    """Whether training it here has to give the same bits: on the CPU, on the processor and versions of then.

    Not on a GPU: sums there are taken in no fixed order (atomic additions), and kernels are chosen by timing.
    """
    here, then = machine(), recorded.machine
    return recorded.job.device == "cpu" and replace(here, gpu="") == replace(then, gpu="")


def require_corpus(recorded: Recorded) -> None:
    """Raise ValueError where the text here is not the one that was trained on."""
    found = load_corpus(recorded.job.data).digest
    if found != recorded.corpus:
        raise ValueError(
            f"the corpus {recorded.job.data.source!r} has the digest {found[:16]} here, {recorded.corpus[:16]} was "
            "trained on: use the same files (stdlib: the same release of Python), named by --source"
        )


def digest_of(weights: Mapping[str, Array]) -> str:
    """SHA-256 over names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        array = np.ascontiguousarray(weights[name])
        digest.update(f"{name} {array.dtype.name} {weights[name].shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def machine() -> Machine:
    """This one, now."""
    return Machine(python=platform.python_version(), processor=_processor(), versions=versions(PACKAGES), gpu=_gpu())


def versions(packages: tuple[str, ...]) -> dict[str, str | None]:
    """As installed here; None: it is not."""
    return {name: _version(name) for name in packages}


def write_record(folder: Path, recorded: Recorded) -> None:
    """Into the folder, as JSON."""
    job = recorded.job
    told = {
        "format": _FORMAT,
        "trial_id": job.trial_id,
        "candidate_id": job.candidate_id,
        "slot": job.slot,
        "seed": job.seed,
        "device": job.device,
        "num_processes": job.num_processes,
        "stage": asdict(job.stage),
        "data": asdict(job.data),
        "corpus": recorded.corpus,
        "scores": [asdict(score) for score in recorded.scores],
        "num_parameters": recorded.num_parameters,
        "weights": recorded.weights,
        "machine": asdict(recorded.machine),
    }
    (folder / RECORD).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def read_record(folder: Path, source: str | None = None) -> Recorded:
    """Of a bundle. `source`: where its text lies here, if elsewhere.

    Raises:
        ValueError: the folder is no bundle, or its source is not the candidate's that was recorded.
    """
    try:
        told: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        text = (folder / "source.py").read_text(encoding="utf-8")
        if told["format"] != _FORMAT:
            raise ValueError(f"{RECORD} has format {told['format']}, this program reads {_FORMAT}")
        data = DataSpec(**{**told["data"], **({"source": source} if source else {})})
        job = TrialJob(
            trial_id=told["trial_id"],
            candidate_id=told["candidate_id"],
            source=text,
            slot=told["slot"],
            stage=stage_of(told["stage"]),
            seed=told["seed"],
            data=data,
            device=told["device"],
            num_processes=told["num_processes"],
        )
        recorded = Recorded(
            job=job,
            corpus=told["corpus"],
            scores=tuple(Score(**score) for score in told["scores"]),
            num_parameters=told["num_parameters"],
            weights=told["weights"],
            machine=Machine(**told["machine"]),
        )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{folder} is no bundle that can be trained again ({error}): give one of orchestrator.export"
        ) from error
    if candidate_id_of(text) != job.candidate_id:
        raise ValueError(f"{folder}/source.py is not candidate {job.candidate_id} any more: export it again")
    return recorded


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{platform.machine()} {named}".strip()


def _gpu() -> str:
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else ""


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
