"""What ends a training before its time."""

import dataclasses

import pytest

from cognition.records import FailureKind, Pace, TrialStatus
from models.anomalies import AnomalyLimits
from models.data import DataSpec
from models.sandbox.parent import ForkServer
from models.slots import published_source
from models.trial import TrialRun

from .conftest import (
    STAGE,
    finish,
    job,
    run_trial,
    with_forward,
)

LEARNABLE = dataclasses.replace(
    STAGE.canary, alphabet=8, length=32, steps=60, batch_size=16, learning_rate=1e-2, eval_windows=64
)


@pytest.mark.parametrize(
    "leak",
    [
        "x = x + torch.cat([x[:, 1:], torch.zeros_like(x[:, :1])], 1)",
        "x = x + 0.6 * torch.cat([x[:, 1:], torch.zeros_like(x[:, :1])], 1)",
        "return x.flip(1).cumsum(1).flip(1) * self.proj.weight.mean() + self.proj(x.roll(-1, 1))",
    ],
)
def test_the_canary_catches_a_leak_that_training_learns_to_use(server: ForkServer, data: DataSpec, leak: str) -> None:
    metrics, trial = run_trial(server, job(data, with_forward(leak), canary=LEARNABLE))
    assert trial.failure is FailureKind.leak
    assert trial.detail.startswith("canary: loss ")
    assert {point.task for point in metrics} == {"canary"}  # the text was never paid for


def test_honest_mixers_stay_above_what_the_canary_allows(server: ForkServer, data: DataSpec) -> None:
    for name in ("delta_net", "gated_delta_net"):
        _, trial = run_trial(server, job(data, published_source("token_mixer", name), canary=LEARNABLE))
        assert trial.succeeded, trial.detail
        assert 0 < next(score.value for score in trial.scores if score.name == "canary_excess") < 0.5


PACE = Pace(step_s=0.001, losses=((4, 5.0), (8, 4.5), (12, 4.2)))


@pytest.mark.parametrize(
    ("lines", "pace", "limits", "failure", "words"),
    [
        (["time.sleep(0.05)"], PACE, AnomalyLimits(), FailureKind.slow, "times the reference baseline's"),
        (
            ["if self.num_calls > 10: time.sleep(1_000)"],
            PACE,
            AnomalyLimits(silent_floor_s=5.0, slow_factor=1e6, too_good_share=None),
            FailureKind.silent,
            "no word from the training for 5.0 s",
        ),
        (
            [],
            dataclasses.replace(PACE, step_s=1.0, losses=((12, 100.0),)),
            AnomalyLimits(),
            FailureKind.too_good,
            "where the reference baseline has 100",
        ),
        (["x = x * 0"], None, AnomalyLimits(no_progress_share=0.9), FailureKind.no_progress, "the least expected"),
    ],
)
def test_an_anomalous_training_is_stopped_when_seen(
    server: ForkServer,
    data: DataSpec,
    lines: list[str],
    pace: Pace | None,
    limits: AnomalyLimits,
    failure: FailureKind,
    words: str,
) -> None:
    wanted = dataclasses.replace(job(data, with_forward(*lines, "pass")), pace=pace, anomalies=limits)
    metrics, trial = finish(TrialRun(wanted, server))
    assert (trial.status, trial.failure) == (TrialStatus.stopped, failure), trial.detail
    assert words in trial.detail
    assert metrics
    assert trial.loss is None
