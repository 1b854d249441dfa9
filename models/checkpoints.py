"""Checkpoints of trials under way, one file a trial, in a folder on disk or in an object store.

Keyed by the trial's id, so that whoever runs the trial next finds it: another worker, another node, another driver. The
file is a zip of numpy arrays and one JSON, both checked by their sums; nothing is pickled. On disk it is written beside
its place, synced and renamed; in an object store it is one upload under its name.

Not guaranteed: that a checkpoint on one node's disk is seen from another; that takes a shared folder or an object
store. Nor that what a training child handed over is true: it is kept as data, and counts for nothing but going on.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import struct
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any, Self
from urllib.parse import quote

import numpy as np

from cognition.records import Metric
from models.evaluator import TokenScores
from models.sandbox.wire import Array
from models.scale import Stage

SCHEMES = ("file", "s3", "gs", "gcs", "hdfs", "viewfs", "abfs", "abfss")
_VERSION = 1
_JSON = "checkpoint.json"
_DAMAGE = (
    *(OSError, EOFError, ValueError, KeyError, TypeError, RuntimeError, OverflowError, MemoryError),
    *(zipfile.BadZipFile, struct.error),
)


class CheckpointError(Exception):
    """A checkpoint could not be written or read; what is known of it is in the message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointSpec:
    """Where a trial keeps its checkpoints, and how far apart they are."""

    uri: str  # an absolute path, or a URI that pyarrow knows
    every_s: float

    def __post_init__(self) -> None:
        scheme, separator, _ = self.uri.partition("://")
        if not separator and not Path(self.uri).is_absolute():
            raise ValueError(
                f"checkpoints.uri is {self.uri!r}: give an absolute path, or a URI such as s3://BUCKET/PATH"
            )
        if separator and scheme not in SCHEMES:
            raise ValueError(f"checkpoints.uri is {self.uri!r}: known schemes are {', '.join(SCHEMES)}")
        if not 0 < self.every_s < math.inf:
            raise ValueError(f"checkpoints.every_s is {self.every_s}: give seconds above zero")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepSpec:
    """Where the weights of a finished trial go, if they are no larger; models.kept_weights."""

    uri: str
    most_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointSettings:
    """Which trials save what they have, and where; values as in conf/config.yaml."""

    uri: str | None = None  # None: `checkpoints` in the run's folder
    every_s: float | None = 600.0  # None: nothing is saved
    keep_gb: float | None = 4.0  # most that the weights of one trial above the first stage may hold; None: none is kept

    def __post_init__(self) -> None:
        if self.keep_gb is not None and not 0 < self.keep_gb < math.inf:
            raise ValueError(f"checkpoints.keep_gb is {self.keep_gb}: give gigabytes above zero, or null to keep none")
        if self.every_s is not None:
            CheckpointSpec(uri=self._resolved(Path("runs")), every_s=self.every_s)

    def within(self, run_folder: Path | str) -> Self:
        """The same with the place spelled out, to hand to other processes; `run_folder`: a path, or a URI."""
        return replace(self, uri=self._resolved(run_folder))

    def spec(self, stage: Stage) -> CheckpointSpec | None:
        """For trials of this stage; None where they end before the first checkpoint would be due, and begin anew."""
        if self.every_s is None or stage.expected_s < self.every_s:
            return None
        if self.uri is None:
            raise ValueError("checkpoints.uri is null: spell it out with within(FOLDER)")
        return CheckpointSpec(uri=self.uri, every_s=self.every_s)

    def keeps(self) -> KeepSpec | None:
        """For trials above the first stage: few climb, so that what is kept stays bounded."""
        if self.keep_gb is None:
            return None
        if self.uri is None:
            raise ValueError("checkpoints.uri is null: spell it out with within(FOLDER)")
        return KeepSpec(uri=self.uri, most_bytes=int(self.keep_gb * 1e9))

    def _resolved(self, run_folder: Path | str) -> str:
        if self.uri is None and isinstance(run_folder, str):
            path, question, options = run_folder.partition("?")
            return f"{path.rstrip('/')}/checkpoints{question}{options}"
        if self.uri is None:
            return str(Path(run_folder).absolute() / "checkpoints")
        return self.uri if "://" in self.uri else str(Path(self.uri).expanduser().absolute())


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A trial in the middle of a task: what the parent knows, and what the training child needs to go on."""

    job: str  # digest of all that decides what is trained: another one's checkpoint is of no use
    task: str  # under way
    step: int  # of it
    elapsed_s: float  # since the trial began, attempts before this one included
    spent_s: float  # of the stage's deadline, which does not count the start of a fork server
    trained_s: float  # of it, since the first step
    ffn_width: int | None  # known once a task is done
    canary: TokenScores
    points: tuple[Metric, ...]  # of all tasks so far
    weights: Mapping[str, Mapping[str, Array]]  # of the tasks that are done
    state: str  # the child's own, and so are its arrays: neither is looked into
    arrays: dict[str, Array]


class Checkpoints:
    """The checkpoints in one folder of a pyarrow file system. Every method raises CheckpointError alone."""

    def __init__(self, filesystem: Any, folder: str) -> None:
        self._filesystem = filesystem
        self._folder = folder.rstrip("/")

    @classmethod
    def at(cls, uri: str) -> Self:
        """By URI or absolute path; nothing is created yet."""
        from pyarrow import fs  # here and not above: it takes a third of a second, and short trials need none of it

        with _reported(f"checkpoints at {uri} cannot be reached"):
            return cls(*(fs.FileSystem.from_uri(uri) if "://" in uri else (fs.LocalFileSystem(), uri)))

    def save(self, trial_id: str, checkpoint: Checkpoint) -> None:
        """Put it in the place of an earlier one, which stays as it is where this fails on a disk."""
        with _reported(f"the checkpoint of {trial_id} was not written"):
            path = self._path(trial_id)
            if not self._is_local:
                self._filesystem.create_dir(self._folder, recursive=True)
                with self._filesystem.open_output_stream(path) as file:
                    _write(file, checkpoint)
                return
            Path(self._folder).mkdir(parents=True, exist_ok=True)
            self._remove_unfinished(trial_id)
            beside = Path(f"{path}.{uuid.uuid4().hex}.tmp")
            try:
                with beside.open("wb") as local:
                    _write(local, checkpoint)
                    local.flush()
                    os.fsync(local.fileno())
                beside.replace(path)
                _sync_folder(self._folder)
            finally:
                beside.unlink(missing_ok=True)

    def load(self, trial_id: str) -> Checkpoint | None:
        """None where there is none; a damaged one is a CheckpointError."""
        with _reported(f"the checkpoint of {trial_id} could not be read"):
            try:
                file = self._filesystem.open_input_file(self._path(trial_id))
            except FileNotFoundError:
                return None
            with file:
                return _read(file)

    def drop(self, trial_id: str) -> None:
        """Remove it, if there is one, and what was left of writing it."""
        with _reported(f"the checkpoint of {trial_id} was not removed"):
            if self._is_local:
                self._remove_unfinished(trial_id)
            with contextlib.suppress(FileNotFoundError):
                self._filesystem.delete_file(self._path(trial_id))

    @property
    def _is_local(self) -> bool:
        return bool(self._filesystem.type_name == "local")

    def _path(self, trial_id: str) -> str:
        return f"{self._folder}/{quote(trial_id, safe='')}.npz"

    def _remove_unfinished(self, trial_id: str) -> None:
        """Of writers that were killed; one that still writes, on a node that was given up, fails at its renaming."""
        name = Path(self._path(trial_id)).name
        if Path(self._folder).is_dir():
            for entry in os.scandir(self._folder):
                if entry.name.startswith(f"{name}.") and entry.name.endswith(".tmp"):
                    Path(entry.path).unlink(missing_ok=True)


@contextlib.contextmanager
def _reported(what: str) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{what}: {type(error).__name__}: {reason}") from error


def _write(file: IO[bytes], checkpoint: Checkpoint) -> None:
    arrays: list[Array] = []

    def placed(named: Mapping[str, Array]) -> dict[str, int]:
        first = len(arrays)
        arrays.extend(named.values())
        return {name: first + index for index, name in enumerate(named)}

    body: dict[str, Any] = {
        **asdict(replace(checkpoint, weights={}, arrays={})),
        "version": _VERSION,
        "weights": {task: placed(state) for task, state in checkpoint.weights.items()},
        "arrays": placed(checkpoint.arrays),
    }
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for index, array in enumerate(arrays):
            with archive.open(f"{index}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.ascontiguousarray(array).reshape(array.shape), allow_pickle=False)
        archive.writestr(_JSON, json.dumps(body, allow_nan=False))


def _read(file: Any) -> Checkpoint:
    with zipfile.ZipFile(file) as archive:
        body = json.loads(archive.read(_JSON))
        if body.pop("version") != _VERSION:
            raise ValueError("it is of another version of this program")

        def taken(places: Mapping[str, int]) -> dict[str, Array]:
            return {name: _array(archive.read(f"{index}.npy")) for name, index in places.items()}

        weights = {task: taken(places) for task, places in body.pop("weights").items()}
        arrays = taken(body.pop("arrays"))
    points = tuple(Metric(**point) for point in body.pop("points"))
    return Checkpoint(
        **{**body, "canary": TokenScores(**body["canary"])}, points=points, weights=weights, arrays=arrays
    )


def _array(encoded: bytes) -> Array:
    """Read after the zip has compared the sum of all of it, so that no size in it is absurd."""
    return np.lib.format.read_array(io.BytesIO(encoded), allow_pickle=False)


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
