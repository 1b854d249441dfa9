"""Checkpoints in a folder of a file system: whole or not there, found by the trial's id, never unpickled."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import textwrap
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pyarrow import fs

from cognition.records import Metric
from models.checkpoints import Checkpoint, CheckpointError, Checkpoints, CheckpointSettings, CheckpointSpec
from models.evaluator import TokenScores
from models.scale import load_scale
from tests.object_store import ObjectStore

TRIAL = "3f/../a b-explore-s0"  # an id that would not do as a file's name


def checkpoint(step: int = 7, **arrays: np.ndarray) -> Checkpoint:
    point = Metric(
        trial_id=TRIAL,
        task="text",
        step=4,
        loss=1 / 3,
        grad_norm=1e-300,
        learning_rate=0.1,
        tokens=512,
        elapsed_s=1.5,
        peak_bytes=None,
    )
    weights = {"text": {"head.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "scalar": np.array(2.5)}}
    return Checkpoint(
        job="digest",
        task="mqar",
        step=step,
        elapsed_s=12.25,
        spent_s=11.5,
        trained_s=10.5,
        ffn_width=160,
        canary=TokenScores(loss=2.08, stderr=0.01, accuracy=0.1, accuracy_stderr=None, num_items=512),
        points=(point, replace(point, step=8, peak_bytes=1 << 40)),
        weights=weights,
        state='{"curve": {}}',
        arrays=arrays or {"mean/a": np.zeros((0, 3)), "chance": np.arange(5, dtype=np.uint8), "yes": np.array([True])},
    )


def assert_equal(one: Checkpoint | None, other: Checkpoint) -> None:
    assert one is not None
    assert replace(one, weights={}, arrays={}) == replace(other, weights={}, arrays={})
    assert one.weights.keys() == other.weights.keys()
    pairs = [(one.arrays, other.arrays), *((one.weights[task], other.weights[task]) for task in other.weights)]
    for found, due in pairs:
        assert found.keys() == due.keys()
        for name, array in due.items():
            assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape), name
            assert np.array_equal(found[name], array), name


@pytest.fixture(params=["disk", "mock", "subtree"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Checkpoints:
    if request.param == "disk":
        return Checkpoints.at(str(tmp_path / "not" / "yet"))
    if request.param == "mock":  # every write is one file under its final name, as in an object store
        return Checkpoints(fs._MockFileSystem(), "bucket/run/checkpoints")
    return Checkpoints(fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem()), "checkpoints")


def test_what_was_saved_is_loaded_and_dropped(store: Checkpoints) -> None:
    assert store.load(TRIAL) is None
    store.save(TRIAL, checkpoint())
    store.save("another", checkpoint(step=1))
    assert_equal(store.load(TRIAL), checkpoint())
    store.save(TRIAL, checkpoint(step=9))
    assert_equal(store.load(TRIAL), checkpoint(step=9))
    store.drop(TRIAL)
    store.drop(TRIAL)
    assert store.load(TRIAL) is None
    assert_equal(store.load("another"), checkpoint(step=1))


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_plain_paths_and_uris_name_one_place(scheme: str, tmp_path: Path) -> None:
    Checkpoints.at(f"{scheme}{tmp_path}/here").save(TRIAL, checkpoint())
    assert_equal(Checkpoints.at(str(tmp_path / "here")).load(TRIAL), checkpoint())
    [file] = (tmp_path / "here").iterdir()
    assert file.suffix == ".npz"


def test_damage_anywhere_is_an_error_that_says_so(tmp_path: Path) -> None:
    store = Checkpoints.at(str(tmp_path))
    store.save(TRIAL, checkpoint())
    [file] = tmp_path.iterdir()
    whole = file.read_bytes()
    damaged = [whole[:size] for size in range(0, len(whole), 97)]
    rng = np.random.default_rng(0)
    for place in rng.choice(len(whole), size=300, replace=False):
        damaged.append(whole[:place] + bytes([whole[place] ^ int(rng.integers(1, 256))]) + whole[place + 1 :])
    refused = []
    for content in damaged:
        file.write_bytes(content)
        try:
            found = store.load(TRIAL)
        except CheckpointError as error:
            refused.append(str(error))
        else:
            assert_equal(found, checkpoint())  # a byte of the zip that nothing depends on, as a file's time
    assert len(refused) > 0.8 * len(damaged)
    assert all(f"the checkpoint of {TRIAL} could not be read: " in told for told in refused)


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    store = Checkpoints.at(str(tmp_path))
    store.save(TRIAL, checkpoint(a=np.zeros(3)))
    [file] = tmp_path.iterdir()
    hostile = io.BytesIO()
    np.save(hostile, np.array([subprocess.Popen], dtype=object), allow_pickle=True)
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, hostile.getvalue() if name == "2.npy" else content)
    with pytest.raises(CheckpointError, match="allow_pickle=False"):
        store.load(TRIAL)


def test_objects_are_not_written_and_the_earlier_one_stays(tmp_path: Path) -> None:
    store = Checkpoints.at(str(tmp_path))
    store.save(TRIAL, checkpoint())
    with pytest.raises(CheckpointError, match="not written"):
        store.save(TRIAL, checkpoint(a=np.array([object()])))
    assert_equal(store.load(TRIAL), checkpoint())
    assert len([*tmp_path.iterdir()]) == 1


def test_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Checkpoints.at(str(tmp_path))
    monkeypatch.setattr("models.checkpoints._VERSION", 0)
    store.save(TRIAL, checkpoint())
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="another version"):
        store.load(TRIAL)


def test_a_writer_that_is_killed_leaves_the_earlier_one_and_its_own_rest_is_removed(tmp_path: Path) -> None:
    store = Checkpoints.at(str(tmp_path))
    store.save(TRIAL, checkpoint())
    script = """
        import os, sys
        import numpy as np
        from models import checkpoints
        from tests.models.test_checkpoints import TRIAL, checkpoint
        checkpoints.os.fsync = lambda _: os.kill(os.getpid(), 9)
        checkpoints.Checkpoints.at(sys.argv[1]).save(TRIAL, checkpoint(step=9))
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(script), str(tmp_path)], cwd=os.getcwd(), check=False)
    assert ended.returncode == -9
    assert len([*tmp_path.iterdir()]) == 2
    assert_equal(store.load(TRIAL), checkpoint())
    store.drop(TRIAL)
    assert [*tmp_path.iterdir()] == []


def test_a_folder_that_cannot_be_written_is_an_error_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = Checkpoints.at(str(tmp_path / "file"))
    with pytest.raises(CheckpointError, match=r"was not written: FileExistsError|NotADirectoryError"):
        store.save(TRIAL, checkpoint())


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"uri": "runs/x", "every_s": 1.0}, "absolute path"),
        ({"uri": "ftp://host/x", "every_s": 1.0}, "known schemes are file, s3"),
        ({"uri": "/x", "every_s": 0.0}, "seconds above zero"),
        ({"uri": "/x", "every_s": float("nan")}, "seconds above zero"),
    ],
)
def test_a_spec_checks_itself(values: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        CheckpointSpec(**values)  # type: ignore[arg-type]


def test_settings_save_long_trials_alone(tmp_path: Path) -> None:
    stage = replace(load_scale("tiny").stages[0], expected_s=100.0)
    settings = CheckpointSettings(every_s=100.0).within(tmp_path)
    assert settings.spec(stage) == CheckpointSpec(uri=str(tmp_path / "checkpoints"), every_s=100.0)
    assert settings.spec(replace(stage, expected_s=99.0)) is None
    assert replace(settings, every_s=None).spec(stage) is None
    with pytest.raises(ValueError, match="known schemes"):
        CheckpointSettings(uri="http://x")


def test_checkpoints_of_a_run_in_an_object_store_lie_under_it(object_store: ObjectStore) -> None:
    uri = object_store.uri("run")
    place = CheckpointSettings(every_s=100.0).within(uri).uri
    assert place == object_store.uri("run/checkpoints")
    assert place is not None
    store = Checkpoints.at(place)
    assert store.load(TRIAL) is None
    store.save(TRIAL, checkpoint())
    store.save(TRIAL, checkpoint(step=9))
    assert_equal(Checkpoints.at(place).load(TRIAL), checkpoint(step=9))
    store.drop(TRIAL)
    store.drop(TRIAL)
    assert store.load(TRIAL) is None
    with object_store.refusing(), pytest.raises(CheckpointError, match="could not be read"):
        store.load(TRIAL)


@pytest.mark.parametrize(
    ("uri", "place"), [("s3://bucket/path", "s3://bucket/path"), ("kept", str(Path.cwd() / "kept"))]
)
def test_a_place_of_ones_own_is_not_in_the_run_folder(uri: str, place: str, tmp_path: Path) -> None:
    assert CheckpointSettings(uri=uri).within(tmp_path).uri == place
