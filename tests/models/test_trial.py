import dataclasses
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cognition.records import FailureKind, Metric, Pace, ReportKind, Trial, TrialStatus
from models import evaluator, probes
from models.anomalies import AnomalyLimits
from models.data import Batch, DataSpec
from models.sandbox.parent import ForkServer
from models.scale import load_scale
from models.slots import published_source
from models.trial import ExamJob, TrialJob, TrialRun, examine

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
STAGE = load_scale("tiny").stages[0]

# A causal mixer; FORWARD runs at the start of every forward pass, AT_LOAD when the module is loaded.
MIXER = """
import ctypes, os, signal, sys, time
import torch
from torch import nn

AT_LOAD

class TokenMixer(nn.Module):
    def __init__(self, hidden_size, num_heads, layer_idx=0, **kwargs):
        super().__init__()
        self.proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.num_calls = 0

    def forward(self, x):
        self.num_calls += 1
        FORWARD
        steps = torch.arange(1, x.shape[1] + 1)[:, None]
        return self.proj(x.cumsum(1) / steps)
"""
HONEST = MIXER.replace("AT_LOAD", "").replace("FORWARD", "pass")
STRAY = "stray-mixer"  # the name that hostile processes give themselves, at most 15 characters


def with_forward(*lines: str) -> str:
    return HONEST.replace("        pass", "\n".join(f"        {line}" for line in lines))


def with_load(*lines: str) -> str:
    return MIXER.replace("AT_LOAD", "\n".join(lines)).replace("FORWARD", "pass")


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    with ForkServer() as server:
        server.start()
        yield server


@pytest.fixture(scope="module")
def cuda_server() -> Iterator[ForkServer]:
    """Its children may start processes; what they train here, they train on the CPU."""
    with ForkServer(device="cuda") as server:
        server.start()
        yield server


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSpec:
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    words = ["state", "decay", "gate", "memory", "chunk", "head"]
    for number in range(40):
        (folder / f"{number}.txt").write_text(" ".join(rng.choice(words, size=300)))
    return DataSpec(source=str(folder))


def job(data: DataSpec, source: str, **changes: object) -> TrialJob:
    stage = dataclasses.replace(STAGE, **changes)  # type: ignore[arg-type]
    return TrialJob(
        trial_id="c-explore-s0",
        candidate_id="c",
        source=source,
        slot="token_mixer",
        stage=stage,
        seed=0,
        data=data,
    )


def finish(run: TrialRun) -> tuple[list[Metric], Trial]:
    metrics = []
    while isinstance(point := run.advance(), Metric):
        metrics.append(point)
    return metrics, point


def run_trial(server: ForkServer, job: TrialJob) -> tuple[list[Metric], Trial]:
    return finish(TrialRun(job, server))


def strays() -> list[str]:
    found = []
    for comm in Path("/proc").glob("[0-9]*/comm"):
        try:
            if comm.read_text().strip() == STRAY and "Z" not in comm.with_name("stat").read_text().split()[2]:
                found.append(comm.parent.name)
        except OSError:
            continue
    return found


def await_strays(num: int) -> None:
    """Wait until `num` of them stay: those that fork and leave at once do not count."""
    until = time.monotonic() + 10
    seen: set[str] = set()
    while time.monotonic() < until:
        before, seen = seen, set(strays())
        if len(seen & before) >= num and seen == before:
            return
        time.sleep(0.05)
    raise AssertionError(f"only {seen} of {num} hostile processes came up")


def test_an_honest_candidate_gets_a_curve_and_sealed_scores(server: ForkServer, data: DataSpec) -> None:
    before = time.time()
    metrics, trial = run_trial(server, job(data, published_source("token_mixer", "delta_net")))
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
    assert before <= trial.started_at < trial.first_step_at < trial.finished_at <= time.time()
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


@pytest.mark.parametrize(
    ("source", "failure", "words"),
    [
        ("class TokenMixer: pass", FailureKind.error, "torch.nn.Module"),
        ("def", FailureKind.error, "SyntaxError"),
        (with_load("1 / 0"), FailureKind.error, "ZeroDivisionError"),
        (with_forward("if self.num_calls > 5:", "    raise KeyError('gone')"), FailureKind.error, "KeyError: 'gone'"),
        (with_forward("if self.num_calls > 5:", "    sys.exit(0)"), FailureKind.error, "SystemExit: 0"),
        (with_forward("torch.empty(1 << 45)"), FailureKind.error, "memory"),
        (with_forward("os._exit(0)"), FailureKind.child_died, "exit code 0"),
        (with_forward("os.kill(os.getpid(), signal.SIGKILL)"), FailureKind.child_died, "SIGKILL"),
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


HOSTILE_LOOPS = {
    "loops": with_forward("rename()", "while True: time.sleep(0.01)"),
    "ignores SIGTERM": with_forward(
        "rename()", "signal.signal(signal.SIGTERM, signal.SIG_IGN)", "while True: time.sleep(0.01)"
    ),
    "leaves its session": with_forward(
        "rename()",
        "for _ in range(3):",
        "    if os.fork() == 0:",
        "        os.setsid()",
        "        if os.fork(): os._exit(0)",
        "        signal.signal(signal.SIGTERM, signal.SIG_IGN)",
        "        while True: time.sleep(0.01)",
        "while True: time.sleep(0.01)",
    ),
}
RENAME = f"def rename(): ctypes.CDLL(None).prctl(15, {STRAY.encode()!r}, 0, 0, 0)\n"


@LINUX
@pytest.mark.parametrize(
    ("name", "jail"),
    [("loops", "server"), ("ignores SIGTERM", "server"), ("leaves its session", "cuda_server")],
)
def test_a_deadline_ends_the_trial_and_every_descendant(
    name: str, jail: str, data: DataSpec, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue(jail)
    run = TrialRun(job(data, RENAME + HOSTILE_LOOPS[name], deadline_s=2.0), server)
    seen = threading.Thread(target=await_strays, args=(4 if name == "leaves its session" else 1,))
    seen.start()
    began = time.monotonic()
    _, trial = finish(run)
    assert 2 <= time.monotonic() - began < 4
    seen.join()
    assert trial.failure is FailureKind.timeout, trial.detail
    assert strays() == []


@LINUX
def test_cancel_from_another_thread_ends_the_trial_at_once(cuda_server: ForkServer, data: DataSpec) -> None:
    run = TrialRun(job(data, RENAME + HOSTILE_LOOPS["leaves its session"]), cuda_server)
    cancelled_at = []

    def cancel() -> None:
        await_strays(4)
        cancelled_at.append(time.monotonic())
        run.cancel()

    canceller = threading.Thread(target=cancel)
    canceller.start()
    _, trial = finish(run)
    assert time.monotonic() - cancelled_at[0] < 2
    canceller.join()
    assert (trial.status, trial.failure) == (TrialStatus.failed, FailureKind.cancelled)
    assert strays() == []


@LINUX
def test_a_candidate_that_starts_processes_on_the_cpu_is_refused_them(server: ForkServer, data: DataSpec) -> None:
    _, trial = run_trial(server, job(data, with_forward("os.fork()")))
    assert trial.failure is FailureKind.error, trial.detail
    assert "PermissionError" in trial.detail


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


PACE = Pace(step_s=0.001, losses=((4, 5.0), (8, 4.5), (12, 4.2)))


@pytest.mark.parametrize(
    ("lines", "pace", "limits", "failure", "words"),
    [
        (["time.sleep(0.05)"], PACE, AnomalyLimits(), FailureKind.slow, "times the reference baseline's"),
        (
            ["if self.num_calls > 10: time.sleep(60)"],
            PACE,
            AnomalyLimits(silent_floor_s=0.5, slow_factor=1e6, too_good_share=None),
            FailureKind.silent,
            "no word from the training for 0.5 s",
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
    begun = time.monotonic()
    metrics, trial = finish(TrialRun(wanted, server))
    assert (trial.status, trial.failure) == (TrialStatus.stopped, failure), trial.detail
    assert words in trial.detail
    assert metrics
    assert trial.loss is None
    assert time.monotonic() - begun < 20


def test_a_trial_cancelled_before_it_starts_runs_nothing(server: ForkServer, data: DataSpec) -> None:
    run = TrialRun(job(data, HONEST), server)
    run.cancel()
    metrics, trial = finish(run)
    assert metrics == []
    assert trial.failure is FailureKind.cancelled


def test_a_corpus_that_cannot_serve_is_the_users_error(server: ForkServer, data: DataSpec) -> None:
    with pytest.raises(ValueError, match="use a larger corpus"):
        run_trial(server, job(data, HONEST, eval_windows=100_000))


def test_an_unknown_slot_is_refused(data: DataSpec) -> None:
    with pytest.raises(ValueError, match="no slot named 'attention'"):
        dataclasses.replace(job(data, HONEST), slot="attention")


def exam(source: str, deadline_s: float = 60) -> ExamJob:
    return ExamJob(
        candidate_id="c",
        number=3,
        attempt=1,
        source=source,
        slot="token_mixer",
        size=STAGE.size,
        length=STAGE.length,
        deadline_s=deadline_s,
    )


def test_an_honest_candidate_passes_the_gate(server: ForkServer) -> None:
    report = examine(exam(published_source("token_mixer", "delta_net")), server)
    assert report.kind is ReportKind.passed, report.detail
    assert (report.number, report.attempt) == (3, 1)
    assert report.properties
    assert all(item.passed for item in report.properties)
    assert report.fingerprint
    assert report.num_parameters
    assert report.ffn_width == STAGE.size.ffn_width
    assert report.flops_per_token
    assert report.duration_s > 0


@pytest.mark.parametrize(
    ("source", "kind", "words"),
    [
        (with_forward("x = x.roll(-1, 1)"), ReportKind.refused, ": "),
        ("1 / 0", ReportKind.refused, "contract: line 1"),
        (with_forward("os._exit(1)"), ReportKind.crashed, "exit code 1"),
        (with_forward("os.write(3, b'garbage')"), ReportKind.crashed, "broke the protocol"),
        (with_forward("while True: time.sleep(0.01)"), ReportKind.timeout, "deadline"),
        ("#" * (257 << 10), ReportKind.refused, "shorten it"),
    ],
)
def test_every_end_of_an_examination_is_a_report(server: ForkServer, source: str, kind: ReportKind, words: str) -> None:
    job = exam(source, deadline_s=2 if kind is ReportKind.timeout else 60)
    report = examine(dataclasses.replace(job, policy=False), server)
    assert report.kind is kind, report.detail
    assert words in report.detail


def test_the_policy_reads_a_source_before_anything_runs(server: ForkServer) -> None:
    report = examine(exam("import os\nwhile True: pass"), server)
    assert report.kind is ReportKind.refused
    assert report.detail.startswith("policy: line 1: import of os")
    assert [(item.name, item.figure, item.limit) for item in report.properties] == [("policy", 1, 0)]
    passed = examine(exam(published_source("token_mixer", "linear_attention")), server)
    assert passed.properties[0].name == "policy"
    assert passed.properties[0].passed


@pytest.mark.parametrize("changes", [{"deadline_s": 0.0}, {"length": 0}, {"slot": "attention"}])
def test_an_examination_that_makes_no_sense_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes)).split("_")[0]):
        dataclasses.replace(exam(HONEST), **changes)  # type: ignore[arg-type]


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
