"""A trial on several processes: the same curve and weights as on one, and typed failures."""

import dataclasses
import threading
from pathlib import Path

import numpy as np
import pytest

from cognition.records import FailureKind, Metric, Trial, TrialStatus
from models.checkpoints import CheckpointSpec
from models.data import DataSpec
from models.sandbox.parent import ForkServer
from models.sandbox.wire import Array
from models.scale import Recipe
from models.slots import published_source
from models.trial import TrialJob, TrialRun

from .conftest import HONEST, LINUX, STRAY, await_no_strays, await_strays, finish, job, with_forward

pytestmark = LINUX
DELTA_NET = published_source("token_mixer", "delta_net")
RANK = "rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0"


def on(num_processes: int, data: DataSpec, source: str, **changes: object) -> TrialJob:
    return dataclasses.replace(job(data, source, **changes), num_processes=num_processes)


def trained(run: TrialRun) -> tuple[list[Metric], Trial, dict[str, dict[str, Array]]]:
    """Points, trial, and the weights that the training handed over; the canary's are gone by then."""
    points, trial = finish(run)
    return points, trial, run._progress.weights


@pytest.mark.parametrize(
    ("kind", "recipe"),
    [("server", Recipe()), ("cuda_server", Recipe(micro_batch=1))],
)
def test_two_processes_train_what_one_does(
    kind: str, recipe: Recipe, data: DataSpec, request: pytest.FixtureRequest
) -> None:
    server: ForkServer = request.getfixturevalue(kind)
    points, alone, weights = trained(TrialRun(on(1, data, DELTA_NET), server))
    shared_points, shared, shared_weights = trained(TrialRun(on(2, data, DELTA_NET, recipe=recipe), server))
    assert (alone.status, shared.status) == (TrialStatus.finished, TrialStatus.finished), shared.detail
    assert [(point.task, point.step, point.tokens) for point in points] == [
        (point.task, point.step, point.tokens) for point in shared_points
    ]
    for one, other in zip(points, shared_points, strict=True):
        assert other.loss == pytest.approx(one.loss, rel=1e-5), one
        assert other.grad_norm == pytest.approx(one.grad_norm, rel=1e-3), one
        assert other.learning_rate == one.learning_rate
    assert list(weights) == list(shared_weights) == ["text", "mqar"]
    for task, state in weights.items():
        for name, array in state.items():
            np.testing.assert_allclose(shared_weights[task][name], array, atol=3e-5, err_msg=f"{task} {name}")
    assert alone.loss is not None
    assert shared.loss == pytest.approx(alone.loss, rel=1e-5)
    assert (shared.steps, shared.tokens, shared.num_parameters) == (alone.steps, alone.tokens, alone.num_parameters)


@pytest.mark.gpu
def test_two_gpus_train_what_one_does(data: DataSpec) -> None:
    import torch

    if torch.cuda.device_count() < 2:
        pytest.skip("needs two CUDA devices")
    with ForkServer(device="cuda") as server:
        (points, alone), (shared_points, shared) = (
            finish(TrialRun(dataclasses.replace(on(num, data, DELTA_NET), device="cuda"), server)) for num in (1, 2)
        )
    assert (alone.status, shared.status) == (TrialStatus.finished, TrialStatus.finished), shared.detail
    for one, other in zip(points, shared_points, strict=True):
        assert other.loss == pytest.approx(one.loss, rel=1e-3), one


def test_what_is_not_a_multiple_of_the_processes_is_the_users_error(data: DataSpec) -> None:
    with pytest.raises(ValueError, match="the batch_size of its text is 4, not a multiple of the 3 processes"):
        on(3, data, HONEST)
    with pytest.raises(ValueError, match="the batch_size of its canary is 8, not a multiple of the 16 processes"):
        on(16, data, HONEST, batch_size=16)
    with pytest.raises(ValueError, match="num_processes is 0"):
        on(0, data, HONEST)


@pytest.mark.parametrize(
    ("lines", "failure", "words"),
    [
        (("raise KeyError('gone')",), FailureKind.error, "rank 1 of 2:\ncandidate line 18, in forward: raise KeyError"),
        (("x = x * float('nan')",), FailureKind.nonfinite, "canary: loss is nan"),
        (("os._exit(0)",), FailureKind.child_died, "rank 1 of 2 left with exit code 0"),
        (("os._exit(7)",), FailureKind.child_died, "rank 1 of 2 left with exit code 7"),
        (("os.kill(os.getpid(), signal.SIGKILL)",), FailureKind.killed, "rank 1 of 2 was ended by SIGKILL"),
        (("torch.distributed.all_reduce(torch.ones(3))",), FailureKind.child_died, "collective mismatch"),
        (("torch.distributed.destroy_process_group()",), FailureKind.child_died, "rank 1 of 2"),
        (("os.closerange(3, 64)",), FailureKind.child_died, "rank 1 of 2"),
        (("os.fork()",), FailureKind.error, "PermissionError"),
    ],
)
def test_what_one_rank_does_alone_ends_the_trial_with_a_type(
    server: ForkServer, data: DataSpec, lines: tuple[str, ...], failure: FailureKind, words: str
) -> None:
    started = server.start()
    source = with_forward(RANK, "if rank == 1 and self.num_calls > 5:", *(f"    {line}" for line in lines))
    _, trial = finish(TrialRun(on(2, data, source), server))
    assert (trial.status, trial.failure) == (TrialStatus.failed, failure), trial.detail
    assert words in trial.detail
    assert server.start() == started


def test_ranks_that_build_different_models_are_told_so(server: ForkServer, data: DataSpec) -> None:
    source = HONEST.replace(
        "self.num_calls = 0",
        f"{RANK}\n        self.register_buffer('own', torch.ones(1 + rank))\n" + 8 * " " + "self.num_calls = 0",
    )
    _, trial = finish(TrialRun(on(2, data, source), server))
    assert trial.failure is FailureKind.error, trial.detail
    assert "build the same one from the same seed" in trial.detail


@pytest.mark.parametrize(("kind", "rank"), [("server", 0), ("server", 1), ("cuda_server", 1)])
def test_a_rank_that_hangs_is_ended_with_all_the_others(
    kind: str, rank: int, data: DataSpec, request: pytest.FixtureRequest
) -> None:
    server: ForkServer = request.getfixturevalue(kind)
    rename = f"ctypes.CDLL(None).prctl(15, {STRAY.encode()!r}, 0, 0, 0)"
    source = with_forward(RANK, rename, f"if rank == {rank} and self.num_calls > 5: time.sleep(1000)")
    run = TrialRun(on(2, data, source, deadline_s=10.0), server)
    seen = threading.Thread(target=await_strays, args=(2,))
    seen.start()
    _, trial = finish(run)
    seen.join()
    assert trial.failure is FailureKind.timeout, trial.detail
    await_no_strays()


def test_several_processes_go_on_from_a_checkpoint(server: ForkServer, data: DataSpec, tmp_path: Path) -> None:
    """Bit for bit, where nothing is drawn by chance: sums over two ranks have one order."""
    wanted = on(2, data, HONEST)
    points, whole = finish(TrialRun(wanted, server))
    wanted = dataclasses.replace(wanted, checkpoints=CheckpointSpec(uri=str(tmp_path), every_s=1e-6))
    run = TrialRun(wanted, server)
    while isinstance(point := run.advance(), Metric) and (point.task, point.step) != ("text", 8):
        pass
    run.cancel()
    finish(run)
    more, trial = finish(TrialRun(wanted, server))
    assert (trial.status, trial.continued_from) == (TrialStatus.finished, 7), trial.detail
    assert [(point.task, point.step, point.loss) for point in more] == [(p.task, p.step, p.loss) for p in points]
    assert trial.scores == whole.scores
