"""A trial that was cut off is taken up from its checkpoint by whoever runs it next."""

import dataclasses
import os
import signal
import time
from pathlib import Path

import pytest

from cognition.records import FailureKind, Metric, Trial, TrialStatus
from models.checkpoints import Checkpoints, CheckpointSpec
from models.data import DataSpec
from models.sandbox.parent import ForkServer
from models.slots import published_source
from models.trial import TrialJob, TrialRun

from .conftest import HONEST, STAGE, finish, job, run_trial, with_forward, with_load

TRIAL = "c-explore-s0"
# The channel of the child that runs candidate code, as hostile candidates find it.
CHANNEL = (
    "import sys",
    "frame = sys._getframe()",
    "while 'channel' not in frame.f_locals: frame = frame.f_back",
    "channel = frame.f_locals['channel']",
)


def wanted(data: DataSpec, folder: Path, source: str = HONEST, every_s: float = 1e-6, **changes: object) -> TrialJob:
    """A job whose child hands over its state after every step, unless `every_s` says otherwise."""
    spec = CheckpointSpec(uri=str(folder), every_s=every_s)
    return dataclasses.replace(job(data, source, **changes), checkpoints=spec)


def advance_to(run: TrialRun, task: str, step: int) -> list[Metric]:
    points = []
    while isinstance(point := run.advance(), Metric):
        points.append(point)
        if (point.task, point.step) == (task, step):
            return points
    raise AssertionError(f"the trial ended before {task} {step}: {point.detail}")


def cut_off(run: TrialRun, task: str, step: int) -> list[Metric]:
    """Points up to this one; the checkpoint kept is of the step before, which the parent had read by then."""
    points = advance_to(run, task, step)
    run.cancel()
    more, trial = finish(run)
    assert trial.failure is FailureKind.cancelled
    return points + more


def told(points: list[Metric]) -> list[tuple[object, ...]]:
    return [(p.task, p.step, p.loss, p.grad_norm, p.learning_rate, p.tokens) for p in points]


def figures(trial: Trial) -> tuple[object, ...]:
    return (
        trial.status,
        trial.scores,
        trial.train_loss,
        trial.num_parameters,
        trial.ffn_width,
        trial.steps,
        trial.tokens,
    )


@pytest.fixture(scope="module")
def undisturbed(server: ForkServer, data: DataSpec) -> tuple[list[Metric], Trial]:
    return run_trial(server, job(data, HONEST))


@pytest.mark.parametrize(
    ("task", "step", "continued_from"),
    [("text", 4, 3), ("text", 8, 7), ("text", 12, 11), ("mqar", 3, 12)],
)
def test_a_trial_that_goes_on_ends_as_one_that_was_never_cut_off(
    server: ForkServer,
    data: DataSpec,
    tmp_path: Path,
    undisturbed: tuple[list[Metric], Trial],
    task: str,
    step: int,
    continued_from: int,
) -> None:
    first = cut_off(TrialRun(wanted(data, tmp_path), server), task, step)
    assert len([*tmp_path.iterdir()]) == 1
    points, trial = run_trial(server, wanted(data, tmp_path))
    assert trial.continued_from == continued_from
    assert told(points) == told(undisturbed[0])
    assert told(first) == told(points)[: len(first)]
    assert figures(trial) == figures(undisturbed[1])
    assert trial.detail == ""
    assert [*tmp_path.iterdir()] == [], "an ended trial leaves no checkpoint"


def test_another_node_takes_up_what_died_with_its_fork_server(
    server: ForkServer, data: DataSpec, tmp_path: Path
) -> None:
    source = published_source("token_mixer", "delta_net")
    expected = run_trial(server, job(data, source))
    with ForkServer() as lost:
        pid = lost.start()
        run = TrialRun(wanted(data, tmp_path, source), lost)
        advance_to(run, "text", 8)
        os.kill(pid, signal.SIGKILL)
        _, cut = finish(run)
    assert cut.failure is FailureKind.worker_died
    assert cut.continued_from == 0
    points, trial = run_trial(server, wanted(data, tmp_path, source))
    assert 4 <= trial.continued_from < 12
    assert told(points) == told(expected[0])
    assert figures(trial) == figures(expected[1])


def test_it_may_be_cut_off_again_and_again(
    server: ForkServer, data: DataSpec, tmp_path: Path, undisturbed: tuple[list[Metric], Trial]
) -> None:
    for task, step in (("text", 4), ("text", 8), ("text", 12), ("mqar", 2), ("mqar", 6)):
        cut_off(TrialRun(wanted(data, tmp_path), server), task, step)
    points, trial = run_trial(server, wanted(data, tmp_path))
    assert told(points) == told(undisturbed[0])
    assert figures(trial) == figures(undisturbed[1])


def test_times_go_on_and_the_slot_is_this_attempts(server: ForkServer, data: DataSpec, tmp_path: Path) -> None:
    cut_off(TrialRun(wanted(data, tmp_path), server), "text", 8)
    store = Checkpoints.at(str(tmp_path))
    kept = store.load(TRIAL)
    assert kept is not None
    assert 0 < kept.trained_s < kept.spent_s < kept.elapsed_s
    store.save(TRIAL, dataclasses.replace(kept, elapsed_s=10.0, trained_s=9.0))
    points, trial = run_trial(server, wanted(data, tmp_path))
    later = [point for point in points if point not in kept.points]
    assert points[: len(kept.points)] == [*kept.points]
    assert 10.0 < later[0].elapsed_s <= later[-1].elapsed_s < 10.0 + trial.slot_s
    assert 9.0 < trial.train_s < 9.0 + trial.slot_s
    assert trial.slot_s == trial.finished_at - trial.started_at
    assert trial.started_at < trial.first_step_at < trial.finished_at


def test_the_deadline_counts_what_was_trained_before(server: ForkServer, data: DataSpec, tmp_path: Path) -> None:
    cut_off(TrialRun(wanted(data, tmp_path), server), "text", 8)
    store = Checkpoints.at(str(tmp_path))
    kept = store.load(TRIAL)
    assert kept is not None
    store.save(TRIAL, dataclasses.replace(kept, spent_s=STAGE.deadline_s))
    points, trial = run_trial(server, wanted(data, tmp_path))
    assert (trial.status, trial.failure) == (TrialStatus.failed, FailureKind.timeout)
    assert told(points) == told([*kept.points])
    assert (trial.steps, trial.continued_from) == (4, 7)
    assert [*tmp_path.iterdir()] == []


def test_the_start_of_a_fork_server_and_the_points_told_again_are_not_of_the_deadline(
    server: ForkServer, data: DataSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = server.start
    monkeypatch.setattr(server, "start", lambda: (time.sleep(1.0), start())[1])
    run = TrialRun(wanted(data, tmp_path), server)
    advance_to(run, "text", 8)
    kept = Checkpoints.at(str(tmp_path)).load(TRIAL)
    assert kept is not None
    assert kept.spent_s < kept.elapsed_s - 1.0
    run.cancel()
    finish(run)
    monkeypatch.undo()
    Checkpoints.at(str(tmp_path)).save(TRIAL, dataclasses.replace(kept, spent_s=1.0))
    run = TrialRun(wanted(data, tmp_path), server)
    for _ in kept.points:
        assert isinstance(run.advance(), Metric)
    began = time.monotonic()
    time.sleep(1.0)  # a consumer that takes its time
    advance_to(run, "text", 12)
    kept = Checkpoints.at(str(tmp_path)).load(TRIAL)
    assert kept is not None
    assert kept.spent_s < 1.0 + (time.monotonic() - began) - 1.0
    run.cancel()


def test_a_damaged_checkpoint_is_told_of_and_the_trial_begins_anew(
    server: ForkServer, data: DataSpec, tmp_path: Path, undisturbed: tuple[list[Metric], Trial]
) -> None:
    cut_off(TrialRun(wanted(data, tmp_path), server), "text", 8)
    [file] = tmp_path.iterdir()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    points, trial = run_trial(server, wanted(data, tmp_path))
    assert trial.continued_from == 0
    assert "could not be read: BadZipFile" in trial.detail
    assert trial.detail.endswith("it began anew")
    assert told(points) == told(undisturbed[0])
    assert figures(trial) == figures(undisturbed[1])


@pytest.mark.parametrize("change", [{"source": HONEST + "# more\n"}, {"seed": 1}, {"candidate_id": "d"}])
def test_a_checkpoint_of_something_else_is_not_taken_up(
    server: ForkServer, data: DataSpec, tmp_path: Path, change: dict[str, object]
) -> None:
    cut_off(TrialRun(wanted(data, tmp_path), server), "text", 8)
    _, trial = run_trial(server, dataclasses.replace(wanted(data, tmp_path), **change))  # type: ignore[arg-type]
    assert trial.succeeded
    assert trial.continued_from == 0
    assert "was of other source" in trial.detail


def test_a_storage_that_cannot_be_written_costs_the_checkpoint_alone(
    server: ForkServer, data: DataSpec, tmp_path: Path, undisturbed: tuple[list[Metric], Trial]
) -> None:
    (tmp_path / "file").write_text("in the way")
    points, trial = run_trial(server, wanted(data, tmp_path / "file"))
    assert "was not" in trial.detail
    assert told(points) == told(undisturbed[0])
    assert figures(trial) == figures(undisturbed[1])


def test_who_fails_by_its_own_doing_leaves_no_checkpoint(server: ForkServer, data: DataSpec, tmp_path: Path) -> None:
    run = TrialRun(wanted(data, tmp_path, with_forward("if self.num_calls > 9:", "    raise KeyError")), server)
    advance_to(run, "text", 8)
    assert len([*tmp_path.iterdir()]) == 1
    _, trial = finish(run)
    assert trial.failure is FailureKind.error
    assert [*tmp_path.iterdir()] == []


def test_who_was_stopped_leaves_no_checkpoint(server: ForkServer, data: DataSpec, tmp_path: Path) -> None:
    run = TrialRun(wanted(data, tmp_path), server)
    advance_to(run, "text", 8)
    assert len([*tmp_path.iterdir()]) == 1
    run.stop("it would not reach the bar")
    finish(run)
    assert [*tmp_path.iterdir()] == []


def test_the_cadence_is_the_parents(server: ForkServer, data: DataSpec, tmp_path: Path) -> None:
    """The child hands over after every step, whatever it was told; nothing of it is written before its time."""
    eager = with_load("from models import training_state", "training_state.Saving.due = True")
    cut_off(TrialRun(wanted(data, tmp_path, eager, every_s=3600.0), server), "mqar", 4)
    assert [*tmp_path.iterdir()] == []
    cut_off(TrialRun(wanted(data, tmp_path, HONEST, every_s=3600.0), server), "mqar", 4)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("body", "size", "words"),
    [
        ("'task': 'text', 'step': 1, 'state': ''", 30 << 23, "'checkpoint' carries arrays of"),
        ("'task': 'text', 'step': 1, 'state': 'x' * 20_000", 0, "more than 16000 characters"),
        ("'task': 'text', 'step': 1, 'state': {}", 0, "expected a string"),
        ("'task': 'text', 'step': 0, 'state': ''", 0, "checkpoint.step is 0"),
        ("'task': 'text', 'step': 12, 'state': ''", 0, "checkpoint.step is 12"),
        ("'task': 'mqar', 'step': 1, 'state': ''", 0, "'text' was due"),
    ],
)
def test_checkpoints_that_no_honest_child_sends_end_the_trial(
    server: ForkServer, data: DataSpec, tmp_path: Path, body: str, size: int, words: str
) -> None:
    forged = with_load(
        *CHANNEL,
        "from models import training",
        "train = training.train",
        "def forged(*arguments, **values):",
        "    if values['save'] is not None:",
        f"        channel.send('checkpoint', {{{body}}}, {{'a': torch.empty({size}).numpy()}})",
        "    return train(*arguments, **values)",
        "training.train = forged",
    )
    _, trial = run_trial(server, wanted(data, tmp_path, forged))
    assert trial.failure is FailureKind.error, trial.detail
    assert words in trial.detail
    assert [*tmp_path.iterdir()] == []


def test_a_state_that_cannot_be_taken_up_is_its_candidates_failure(
    server: ForkServer, data: DataSpec, tmp_path: Path
) -> None:
    cut_off(TrialRun(wanted(data, tmp_path), server), "text", 8)
    store = Checkpoints.at(str(tmp_path))
    kept = store.load(TRIAL)
    assert kept is not None
    store.save(TRIAL, dataclasses.replace(kept, state="{"))
    _, trial = run_trial(server, wanted(data, tmp_path))
    assert trial.failure is FailureKind.error, trial.detail
    assert [*tmp_path.iterdir()] == []


def test_without_a_place_none_are_taken(server: ForkServer, data: DataSpec) -> None:
    forged = with_load(
        *CHANNEL,
        "from models import training",
        "training.train = lambda *_, **__: channel.send('checkpoint', {'task': 'text', 'step': 1, 'state': ''})",
    )
    _, trial = run_trial(server, job(data, forged))
    assert "'checkpoint' was not due" in trial.detail
