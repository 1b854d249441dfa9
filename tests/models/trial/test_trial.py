"""One trial, from its first point to its record."""

import dataclasses
import time

import numpy as np
import pytest

from cognition.records import FailureKind, Metric, TrialStatus
from models.data import DataSpec, load_corpus
from models.sandbox.parent import ForkServer
from models.slots import published_source
from models.trial import TrialRun

from .conftest import (
    HONEST,
    STAGE,
    finish,
    job,
    run_trial,
    with_forward,
    with_load,
)


def test_an_honest_candidate_gets_a_curve_and_sealed_scores(server: ForkServer, data: DataSpec) -> None:
    before = time.time()
    metrics, trial = run_trial(server, job(data, published_source("token_mixer", "delta_net")))
    after = time.time() + 1.0  # its own clock is the monotonic one, which may run ahead of the other by a little
    assert trial.status is TrialStatus.finished, trial.detail
    assert trial.failure is None
    assert [(point.task, point.step, point.tokens) for point in metrics if point.task == "text"] == [
        ("text", 4, 512),
        ("text", 8, 1024),
        ("text", 12, 1536),
    ]
    assert [point.step for point in metrics if point.task == "mqar"] == list(range(1, 9))
    assert trial.loss is not None
    assert 1 < trial.loss < np.log(256) + 1
    loss, mqar, canary = trial.scores
    assert (loss.name, loss.value, loss.num_items) == ("loss", trial.loss, 16 * 32)
    assert (mqar.name, mqar.value, mqar.chance) == ("mqar_accuracy", trial.benchmark, 0.5)
    assert (canary.name, canary.chance, canary.num_items) == ("canary_excess", None, 32 * 16)
    assert canary.value > -0.05
    assert trial.num_parameters is not None
    assert trial.num_parameters > 10_000
    assert trial.ffn_width == STAGE.size.ffn_width
    assert (trial.steps, trial.tokens, trial.train_loss) == (
        12,
        1536,
        next(point.loss for point in metrics if point.task == "text" and point.step == 12),
    )
    assert before <= trial.started_at < trial.first_step_at < trial.finished_at <= after
    assert 0 < trial.train_s < trial.slot_s == trial.finished_at - trial.started_at
    assert (trial.queued_at, trial.split, trial.stage, trial.seed) == (0.0, "validation", "explore", 0)
    assert ":" in trial.worker


def test_the_same_job_gives_bit_identical_results(server: ForkServer, data: DataSpec) -> None:
    def figures() -> tuple[object, ...]:
        metrics, trial = run_trial(server, job(data, published_source("token_mixer", "delta_net")))
        curve = [(point.task, point.step, point.loss, point.grad_norm) for point in metrics]
        return curve, trial.loss, trial.scores, trial.num_parameters

    assert figures() == figures()


def test_the_trial_is_handed_out_again_after_the_end(server: ForkServer, data: DataSpec) -> None:
    run = TrialRun(job(data, with_load("raise RuntimeError")), server)
    _, trial = finish(run)
    run.cancel()
    assert run.advance() is trial


@pytest.mark.parametrize(
    ("source", "failure", "words"),
    [
        ("class TokenMixer: pass", FailureKind.error, "torch.nn.Module"),
        ("def", FailureKind.error, "SyntaxError"),
        (with_load("torch.empty(1 << 45)"), FailureKind.memory, "memory"),
        (with_load("1 / 0"), FailureKind.error, "ZeroDivisionError"),
        (with_forward("if self.num_calls > 5:", "    raise KeyError('gone')"), FailureKind.error, "KeyError: 'gone'"),
        (with_forward("if self.num_calls > 5:", "    sys.exit(0)"), FailureKind.error, "SystemExit: 0"),
        (with_forward("torch.empty(1 << 45)"), FailureKind.memory, "memory"),
        (with_forward("os._exit(0)"), FailureKind.child_died, "exit code 0"),
        (with_forward("os.kill(os.getpid(), signal.SIGKILL)"), FailureKind.killed, "SIGKILL"),
        (with_forward("os.write(3, os.urandom(100))"), FailureKind.error, "broke the protocol"),
        (with_forward("x = x * float('nan')"), FailureKind.nonfinite, "canary: loss is nan"),
        (with_forward("if not self.training:", "    x = x / 0"), FailureKind.nonfinite, "hidden states"),
        (with_forward("if not self.training:", "    x = x.roll(-1, 1)"), FailureKind.leak, "nats"),
        (with_forward("if not self.training:", "    x = x + x.mean(1, True)"), FailureKind.leak, "nats"),
        (with_forward("if not self.training:", "    x = x * x.shape[1]"), FailureKind.leak, "nats"),
        (HONEST + "#" * (256 << 10), FailureKind.error, "shorten it"),
    ],
)
def test_a_candidates_failure_is_typed_and_says_why(
    server: ForkServer, data: DataSpec, source: str, failure: FailureKind, words: str
) -> None:
    _, trial = run_trial(server, job(data, source))
    assert (trial.status, trial.failure) == (TrialStatus.failed, failure), trial.detail
    assert words in trial.detail
    assert trial.loss is trial.benchmark is None
    assert trial.scores == ()


def test_a_traceback_shows_the_candidates_lines_alone(server: ForkServer, data: DataSpec) -> None:
    _, trial = run_trial(
        server, job(data, with_forward("self.helper(x)") + "    def helper(self, x):\n        x[9999]\n")
    )
    frames, error = trial.detail.splitlines()[:-1], trial.detail.splitlines()[-1]
    assert [frame.split(": ")[1] for frame in frames] == ["self.helper(x)", "x[9999]"]
    assert error.startswith("IndexError: ")


def test_a_stopped_trial_keeps_its_curve_and_the_reason(server: ForkServer, data: DataSpec) -> None:
    run = TrialRun(job(data, HONEST), server)
    while isinstance(point := run.advance(), Metric) and point.task != "text":
        pass
    assert isinstance(point, Metric)
    run.stop("no progress since step 4")
    _, trial = finish(run)
    assert (trial.status, trial.failure) == (TrialStatus.stopped, None)
    assert trial.detail == "no progress since step 4"
    assert trial.train_loss is not None
    assert trial.loss is None


def test_a_trial_cancelled_before_it_starts_runs_nothing(server: ForkServer, data: DataSpec) -> None:
    run = TrialRun(job(data, HONEST), server)
    run.cancel()
    metrics, trial = finish(run)
    assert metrics == []
    assert trial.failure is FailureKind.cancelled


def test_a_corpus_that_cannot_serve_is_the_users_error(server: ForkServer, data: DataSpec) -> None:
    with pytest.raises(ValueError, match="use a larger corpus"):
        run_trial(server, job(data, HONEST, eval_windows=100_000))


def test_a_corpus_that_is_not_the_campaigns_or_cannot_be_read_is_nobodys_result(
    server: ForkServer, data: DataSpec
) -> None:
    metrics, trial = run_trial(server, dataclasses.replace(job(data, HONEST), corpus="0123456789abcdef"))
    assert (metrics, trial.failure, trial.loss) == ([], FailureKind.corpus, None)
    assert "is another one" in trial.detail
    assert "the campaign's is 0123456789ab)" in trial.detail
    away = dataclasses.replace(data, source=f"{data.source}/away")
    assert "cannot be read" in run_trial(server, job(away, HONEST))[1].detail
    digest = load_corpus(data).digest
    assert run_trial(server, dataclasses.replace(job(data, HONEST), corpus=digest))[1].succeeded


def test_an_unknown_slot_is_refused(data: DataSpec) -> None:
    with pytest.raises(ValueError, match="no slot named 'attention'"):
        dataclasses.replace(job(data, HONEST), slot="attention")
