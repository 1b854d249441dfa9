"""An exported trial, trained again: what agrees, what does not, and what is not the same any more."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from cognition.records import FailureKind, TrialStatus, candidate_id_of
from models.__main__ import main
from models.checkpoints import CheckpointSettings, KeepSpec
from models.data import DataSpec, load_corpus
from models.export.again import (
    Again,
    Machine,
    Recorded,
    compared,
    digest_of,
    machine,
    read_record,
    train_again,
    write_record,
)
from models.kept_weights import kept_weights
from models.sandbox.settings import SandboxSettings
from models.scale import load_scale
from models.slots import TOKEN_MIXER, published_source
from models.trial import TrialJob

SOURCE = published_source(TOKEN_MIXER, "linear_attention")
STAGE = dataclasses.replace(load_scale("tiny").stages[0], deadline_s=600.0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrialJob, Again, Path]:
    """A trial that kept its weights in the folder."""
    root = tmp_path_factory.mktemp("kept")
    text = root / "text"
    text.mkdir()
    for number in range(40):
        (text / f"{number}.txt").write_text(f"{number}: the quick brown fox jumps over {number} dogs. " * 40)
    own = candidate_id_of(SOURCE)
    job = TrialJob(
        trial_id=f"{own}-explore-s3",
        candidate_id=own,
        source=SOURCE,
        slot=TOKEN_MIXER,
        stage=STAGE,
        seed=3,
        data=DataSpec(source=str(text)),
        keeps=KeepSpec(uri=str(root / "weights"), most_bytes=10**9),
    )
    again = train_again(job, SandboxSettings())
    assert again.trial.status is TrialStatus.finished, again.trial.detail
    return job, again, root


def recorded_of(job: TrialJob, again: Again) -> Recorded:
    return Recorded(
        job=job,
        corpus=load_corpus(job.data).digest,
        scores=again.trial.scores,
        num_parameters=again.trial.num_parameters,
        weights=digest_of(again.weights),
        machine=machine(),
    )


def bundle_of(folder: Path, recorded: Recorded) -> Path:
    folder.mkdir()
    (folder / "source.py").write_text(recorded.job.source)
    write_record(folder, recorded)
    return folder


def test_weights_of_a_finished_trial_are_kept_and_found_under_its_job_alone(trained):
    job, again, root = trained
    found = kept_weights(str(root / "weights"), job.trial_id, job.digest)
    assert found is not None
    assert digest_of(found) == digest_of(again.weights)
    assert kept_weights(str(root / "weights"), job.trial_id, "of another job") is None
    assert kept_weights(str(root / "weights"), "another-trial", job.digest) is None


def test_weights_that_are_too_large_are_not_kept_and_the_trial_says_so(trained, tmp_path):
    job, _, _ = trained
    small = dataclasses.replace(job, keeps=KeepSpec(uri=str(tmp_path / "weights"), most_bytes=1000))
    again = train_again(small, SandboxSettings())
    assert again.trial.succeeded
    assert "were not kept: raise checkpoints.keep_gb" in again.trial.detail
    assert not (tmp_path / "weights").exists()


def test_nothing_is_kept_where_settings_say_so():
    assert CheckpointSettings(uri="/somewhere", keep_gb=None).keeps() is None
    assert CheckpointSettings(uri="/somewhere", keep_gb=0.5).keeps() == KeepSpec(
        uri="/somewhere", most_bytes=500_000_000
    )
    with pytest.raises(ValueError, match="keep_gb is -1"):
        CheckpointSettings(keep_gb=-1)


def test_a_record_is_read_as_it_was_written(trained, tmp_path):
    job, again, _ = trained
    recorded = recorded_of(dataclasses.replace(job, keeps=None), again)
    assert read_record(bundle_of(tmp_path / "bundle", recorded)) == recorded


def test_the_command_gives_the_same_bits_and_notices_another_figure(trained, tmp_path, capsys):
    job, again, _ = trained
    recorded = recorded_of(job, again)
    assert main(["reproduce", str(bundle_of(tmp_path / "bundle", recorded))]) == 0
    assert "bit-equal" in capsys.readouterr().out
    loss, *others = recorded.scores
    off = dataclasses.replace(recorded, scores=(dataclasses.replace(loss, value=loss.value + 1e-9), *others))
    assert main(["reproduce", str(bundle_of(tmp_path / "off", off))]) == 1
    assert "DIFFERS" in capsys.readouterr().out


def test_on_another_machine_a_tolerance_holds(trained):
    job, again, _ = trained
    elsewhere = Machine(python="3.0", processor="", versions={})
    recorded = dataclasses.replace(recorded_of(job, again), machine=elsewhere, weights="others")
    assert compared(recorded, again).agrees
    loss, *others = recorded.scores

    def with_loss(by: float) -> Recorded:
        return dataclasses.replace(recorded, scores=(dataclasses.replace(loss, value=loss.value + by), *others))

    assert compared(with_loss(0.015), again).agrees
    assert not compared(with_loss(0.015), again).is_equal
    assert not compared(with_loss(0.03), again).agrees


def test_a_gpu_owes_no_bits_even_on_the_same_machine(trained):
    job, again, _ = trained
    loss, *others = again.trial.scores
    off = dataclasses.replace(loss, value=loss.value + 1e-6)
    on_cpu = dataclasses.replace(recorded_of(job, again), scores=(off, *others))
    on_gpu = dataclasses.replace(on_cpu, job=dataclasses.replace(job, device="cuda"))
    assert not compared(on_cpu, again).agrees
    assert compared(on_gpu, again).agrees
    assert not compared(on_gpu, again).is_equal


def test_a_gpu_that_was_not_trained_on_changes_no_bits_and_is_recorded(trained, tmp_path):
    job, again, _ = trained
    with_gpu = dataclasses.replace(machine(), gpu="NVIDIA H200")
    recorded = dataclasses.replace(recorded_of(job, again), machine=with_gpu)
    assert compared(recorded, again).bits_owed
    assert read_record(bundle_of(tmp_path / "bundle", recorded)).machine.gpu == "NVIDIA H200"


def test_a_training_that_fails_agrees_with_nothing(trained):
    job, again, _ = trained
    failed = dataclasses.replace(again.trial, status=TrialStatus.failed, failure=FailureKind.error, scores=())
    recorded = dataclasses.replace(recorded_of(job, again), machine=Machine(python="", processor="", versions={}))
    assert not compared(recorded, Again(trial=failed, weights={})).agrees


def test_other_text_and_another_source_are_refused(trained, tmp_path, capsys):
    job, again, _ = trained
    recorded = dataclasses.replace(recorded_of(job, again), corpus="0" * 64)
    assert main(["reproduce", str(bundle_of(tmp_path / "text", recorded))]) == 2
    assert "use the same files" in capsys.readouterr().err
    folder = bundle_of(tmp_path / "source", recorded_of(job, again))
    (folder / "source.py").write_text(SOURCE.replace("elu", "relu"))
    assert main(["reproduce", str(folder)]) == 2
    assert f"is not candidate {job.candidate_id} any more" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["", "{}", json.dumps({"format": 9})])
def test_what_is_no_bundle_is_named(tmp_path, capsys, damage):
    (tmp_path / "source.py").write_text(SOURCE)
    if damage:
        (tmp_path / "reproduce.json").write_text(damage)
    assert main(["reproduce", str(tmp_path)]) == 2
    assert "is no bundle that can be trained again" in capsys.readouterr().err


def test_a_digest_sees_names_shapes_and_bits():
    weights = {"a": np.zeros((2, 3), np.float32)}
    others = ({"b": weights["a"]}, {"a": weights["a"].T.copy()}, {"a": weights["a"] - 0.0}, {"a": -weights["a"]})
    assert digest_of(weights) == digest_of({"a": np.zeros((2, 3), np.float32)})
    assert [digest_of(other) == digest_of(weights) for other in others] == [False, False, True, False]
