"""Figures, weights and answers that a candidate would like to be believed."""

import dataclasses
from typing import Any

import pytest

from cognition.records import FailureKind, Pace, TrialStatus
from models import evaluator, probes
from models.data import Batch, DataSpec
from models.sandbox.parent import ForkServer
from models.trial import TrialRun

from .conftest import (
    HONEST,
    finish,
    job,
    run_trial,
    with_forward,
    with_load,
)


def test_forged_telemetry_does_not_reach_the_score(server: ForkServer, data: DataSpec) -> None:
    forged = with_load(
        "from models import training",
        "point = training.TrainingPoint",
        "training.TrainingPoint = lambda **values: point(**{**values, 'loss': 0.9 * values['loss']})",
    )
    _, trial = run_trial(server, job(data, forged))
    assert trial.train_loss is not None
    assert trial.loss is not None
    assert trial.loss > 1.05 * trial.train_loss


def test_training_losses_too_good_for_uniform_tokens_end_the_trial(server: ForkServer, data: DataSpec) -> None:
    forged = with_load(
        "from models import training",
        "point = training.TrainingPoint",
        "training.TrainingPoint = lambda **values: point(**{**values, 'loss': 0.001})",
    )
    metrics, trial = run_trial(server, job(data, forged))
    assert (trial.status, trial.failure) == (TrialStatus.failed, FailureKind.leak)
    assert "no honest model falls below ln 8" in trial.detail
    assert {point.task for point in metrics} == {"canary"}


def test_parameters_beyond_the_budget_are_counted_in_the_saved_weights(server: ForkServer, data: DataSpec) -> None:
    greedy = with_load("from models.sandbox import tasks", "tasks.fit_ffn_width = lambda *_: 640")
    _, trial = run_trial(server, job(data, greedy))
    assert trial.failure is FailureKind.error
    assert "the budget is" in trial.detail


def test_a_larger_model_for_a_later_task_is_counted_too(server: ForkServer, data: DataSpec) -> None:
    larger = with_load(
        "from models.sandbox import tasks",
        "build, calls = tasks.build, []",
        "tasks.build = lambda kind, size, wide, *rest: calls.append(1) or build(kind, size, wide * len(calls), *rest)",
    )
    _, trial = run_trial(server, job(data, larger))
    assert trial.failure is FailureKind.error
    assert "saved for mqar hold" in trial.detail, "canary and text were honest, the probe was not"


def test_probe_items_are_drawn_by_the_weights_handed_in(
    server: ForkServer, data: DataSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = []
    eval_set = probes.eval_set

    def noted(spec: probes.ProbeSpec, seed: int) -> Batch:
        seeds.append(seed)
        return eval_set(spec, seed)

    monkeypatch.setattr(probes, "eval_set", noted)
    for source in (HONEST, HONEST, with_forward("x = 1.001 * x")):
        _, trial = run_trial(server, job(data, source))
        assert trial.succeeded, trial.detail
    assert seeds[0] == seeds[1] != seeds[2]


def test_points_that_go_back_are_refused(server: ForkServer, data: DataSpec) -> None:
    flood = with_load(
        "from models import training",
        "point = training.TrainingPoint",
        "training.TrainingPoint = lambda **values: point(**{**values, 'step': 4})",
    )
    metrics, trial = run_trial(server, job(data, flood))
    assert len(metrics) == 1
    assert "broke the protocol" in trial.detail


LIES = (
    "import sys",
    "frame = sys._getframe()",
    "while 'channel' not in frame.f_locals: frame = frame.f_back",
    "channel = frame.f_locals['channel']",
    "send = channel.send",
    "def lies(kind, body=None, arrays=None):",
    "    if kind == 'hidden' and arrays['hidden_NTD'].shape[1] == 32:",
    "        arrays = {'hidden_NTD': arrays['hidden_NTD'].copy()}",
    "        arrays['hidden_NTD'][::2] *= 1.5",
    "    send(kind, body, arrays)",
    "channel.send = lies",
)


def test_false_answers_about_whole_sequences_do_not_survive_the_audit(server: ForkServer, data: DataSpec) -> None:
    """Every other window is answered falsely; which are drawn is no business of the child's, and differs each time."""
    _, trial = run_trial(server, job(data, with_load(*LIES)))
    assert trial.failure is FailureKind.leak
    assert "at 16 places drawn" in trial.detail


def test_what_the_audit_draws_cannot_be_known_from_what_a_child_is_told(
    server: ForkServer, data: DataSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[int, ...]] = []
    audit_positions = evaluator.audit_positions

    def noted(*arguments: Any) -> evaluator.AuditPositions:
        places = audit_positions(*arguments)
        drawn.append((*places.windows, *places.positions))
        return places

    monkeypatch.setattr(evaluator, "audit_positions", noted)
    one, other = (run_trial(server, job(data, HONEST))[1] for _ in range(2))
    assert one.scores == other.scores
    assert len(set(drawn)) == len(drawn) == 4


def test_a_sealed_loss_that_nobody_believes_is_a_failure(server: ForkServer, data: DataSpec) -> None:
    # The baseline's curve is longer, so that the training itself is not stopped for it.
    wanted = dataclasses.replace(job(data, HONEST), pace=Pace(step_s=1.0, losses=((1000, 50.0),)))
    _, trial = finish(TrialRun(wanted, server))
    assert (trial.failure, trial.loss) == (FailureKind.too_good, None)
    assert trial.detail.startswith("sealed loss ")
