"""Programs that try to misbehave are contained, named, and leave nothing behind: the next candidate's result is the
same to the last bit.

Each runs with the static policy and without it; without it as a child of this user and, where this user is root, of an
ordinary one. The words of `expect`, of which one has to come true without the policy:

    honest     it was refused what it tried, went on, and its result is an honest module's to the last bit
    sealed     finished; its own telemetry differs, the sealed figures are an honest module's to the last bit
    worthless  finished; the sealed loss is not better than an honest module's
    passed, refused, crashed, timeout     a report of this kind
    error, leak, memory, ...              a trial that failed so (FailureKind)
"""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from cognition.records import Metric, ReportKind, Trial, TrialStatus
from models.data import DataSpec
from models.policy import check
from models.sandbox.layer import Limits
from models.sandbox.parent import Child, ForkServer
from models.scale import CANARY, load_scale
from models.trial import ExamJob, TrialJob, TrialRun, examine
from tests.trust.bait import SECRET_VARIABLE, Bait, bait
from tests.trust.conftest import Tally
from tests.trust.hostile_programs import ESCAPED, Program, honest_source, programs
from tests.trust.ordinary_user_tasks import USER

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the jail's layers are Linux's"),
    pytest.mark.timeout(900),
]

PROGRAMS = programs()
HERE = Path(__file__).parent
TINY = load_scale("tiny").stages[0]
STAGE = dataclasses.replace(
    TINY,
    batch_size=2,
    length=16,
    steps=3,
    report_every=1,
    eval_windows=8,
    audit_positions=3,
    probes=(),
    canary=dataclasses.replace(TINY.canary, steps=2, batch_size=2, eval_windows=4),
)
GRACE_S = 30.0  # a guard, no measure: benchmarks/trust_cost.py tells how soon after its deadline a child is gone
LIMITS = Limits(
    memory_bytes=8 << 30,
    rss_bytes=1 << 30,
    file_bytes=64 << 20,
    processes=24,
    threads=64,
    scratch_bytes=256 << 20,
    scratch_entries=4_000,
)
CLEARING_S = 60.0  # the server clears a large scratch folder in pieces, so that it can answer in between
NOISE_NATS = 0.8  # eight seeds of the honest module differ by 0.54 after three steps; a known token is worth 5
SAME_FOR_ALL_USERS = {"channel", "patching", "import_time", "loops"}  # for the ordinary user they run nightly
PRESENT, ORDINARY = "present user", "ordinary user"


class Arena:
    """One fork server with bait around it, a child that has to survive, and what an honest module gets there."""

    def __init__(self, *, server: ForkServer, laid: Bait, data: DataSpec) -> None:
        self._server = server
        self._laid = laid
        self._data = data
        self.pid = server.start()
        self._scratch = Path(Path(f"/proc/{self.pid}/cmdline").read_text().split("\0")[5])
        self._sibling = self._start_sibling()
        self._honest = self._train(honest_source(self._names()), 60)
        assert self._honest[1].status is TrialStatus.finished, self._honest[1].detail
        self._family = self._processes()
        self._leavings = self._left()

    def run(self, program: Program, *, policy: bool) -> tuple[set[str], list[str]]:
        """How it ended, in the words of `expect`, and everything that should not have happened."""
        words: set[str] = set()
        problems: list[str] = []
        source = program.source(self._names())
        for step in program.steps:
            began = time.monotonic()
            if step == "gate":
                report = examine(_exam(source, program.deadline_s, policy), self._server)
                words = {report.kind.value} | ({"policy"} if report.detail.startswith("policy: ") else set())
                told, typed = repr(report), bool(report.detail) or report.kind is ReportKind.passed
            else:
                metrics, trial = self._train(source, program.deadline_s, program.with_probe)
                words = self._words(metrics, trial)
                told, typed = repr((metrics, trial)), trial.failure is None or bool(trial.detail)
            took_s = time.monotonic() - began
            if took_s > program.deadline_s + GRACE_S:
                problems.append(f"{step} took {took_s:.1f} s, its deadline was {program.deadline_s}")
            if ESCAPED in told or self._laid.secret in told:
                problems.append(f"it got out: {told[-600:]}")
            if not typed:
                problems.append(f"{step} ended without a word")
            words.add(f"({told[-400:]})")
        return words, problems + self._aftermath()

    def _aftermath(self) -> list[str]:
        problems = self._laid.damage()
        if self._server.start() != self.pid:
            problems.append("the fork server was lost")
        if not self._sibling.is_well():
            problems.append("another child of the server, or its folder, was changed")
        until = time.monotonic() + CLEARING_S
        while (strange := self._processes() - self._family) and time.monotonic() < until:
            time.sleep(0.1)  # what the kernel still takes apart runs no more
        if strange:
            problems.append(f"processes are left: {strange}")
        metrics, trial = self._train(honest_source(self._names()), 60)
        if not self._is_honest(metrics, trial):
            problems.append(f"the next candidate got {trial.loss} {trial.detail}, honest is {self._honest[1].loss}")
        until = time.monotonic() + CLEARING_S
        while (strange_files := self._left() ^ self._leavings) and time.monotonic() < until:
            time.sleep(0.1)
        if strange_files:
            problems.append(f"the scratch root differs: {strange_files}")
        return problems

    def _words(self, metrics: list[Metric], trial: Trial) -> set[str]:
        if trial.failure is not None:
            return {trial.failure.value}
        if trial.status is not TrialStatus.finished:
            return {trial.status.value}
        if self._is_honest(metrics, trial):
            return {"honest"}
        honest_loss = self._honest[1].loss
        assert trial.loss is not None
        assert honest_loss is not None
        sealed = {"sealed"} if _sealed(trial) == _sealed(self._honest[1]) else set()
        return sealed | ({"worthless"} if trial.loss > honest_loss - NOISE_NATS else {"better"})

    def _is_honest(self, metrics: list[Metric], trial: Trial) -> bool:
        honest_metrics, honest = self._honest
        return _curve(metrics) == _curve(honest_metrics) and _sealed(trial) == _sealed(honest)

    def _train(self, source: str, deadline_s: float, with_probe: bool = False) -> tuple[list[Metric], Trial]:
        job = TrialJob(
            trial_id="c-explore-s0",
            candidate_id="c",
            source=source,
            slot="token_mixer",
            stage=dataclasses.replace(STAGE, deadline_s=deadline_s, probes=TINY.probes if with_probe else ()),
            seed=0,
            data=self._data,
        )
        run, metrics = TrialRun(job, self._server), []
        while isinstance(point := run.advance(), Metric):
            metrics.append(point)
        return metrics, point

    def _names(self) -> dict[str, str | int]:
        return {
            **self._laid.names(),
            "FIRST_TASK": CANARY,
            "SERVER_PID": self.pid,
            "SIBLING_PID": self._sibling.pid,
            "SIBLING_SCRATCH": self._sibling.scratch,
        }

    def _start_sibling(self) -> Sibling:
        return Sibling(self._server, honest_source({}))

    def _processes(self) -> set[int]:
        """The server's descendants, and whatever still bears its command line."""
        parents, found = {}, set()
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                if str(self._scratch) in (folder / "cmdline").read_text():
                    found.add(int(folder.name))
            except (OSError, ValueError):
                continue
        family = {self.pid}
        while more := {pid for pid, parent in parents.items() if parent in family} - family:
            family |= more
        return family | found

    def _left(self) -> set[str]:
        return {str(path.relative_to(self._scratch)) for path in self._scratch.glob("*")}

    def close(self) -> None:
        self._sibling.close()


class Sibling:
    """A child of the same server that waits for a question while others attack it."""

    def __init__(self, server: ForkServer, source: str) -> None:
        subject = {"source": source, "slot": "token_mixer", "size": dataclasses.asdict(STAGE.size)}
        told = {**subject, "ffn_width": 160, "seed": 0, "device": "cpu", "card_share": 1.0}
        self._child: Child = server.spawn("hidden_states", told, deadline_s=3_600)
        self.pid = self._child.pid
        until = time.monotonic() + 100
        while "child-" not in (folder := Path(f"/proc/{self.pid}/cwd").resolve().name) and time.monotonic() < until:
            time.sleep(0.01)
        assert "child-" in folder, "the sibling has no scratch folder"
        self.scratch = str(Path(f"/proc/{self.pid}/cwd").resolve())
        notes = Path(self.scratch, "notes")
        notes.write_text("between two of us")
        notes.chmod(0o666)

    def is_well(self) -> bool:
        try:
            state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return False
        return state in "RSD" and [path.name for path in Path(self.scratch).iterdir()] == ["notes"]

    def close(self) -> None:
        self._child.__exit__(None, None, None)


def _exam(source: str, deadline_s: float, policy: bool) -> ExamJob:
    return ExamJob(
        candidate_id="c",
        number=0,
        attempt=0,
        source=source,
        slot="token_mixer",
        size=STAGE.size,
        length=STAGE.length,
        deadline_s=deadline_s,
        policy=policy,
    )


def _curve(metrics: list[Metric]) -> list[tuple[object, ...]]:
    return [(point.task, point.step, point.loss, point.grad_norm, point.learning_rate) for point in metrics]


def _sealed(trial: Trial) -> tuple[object, ...]:
    return trial.status, trial.loss, trial.loss_stderr, trial.scores, trial.num_parameters, trial.ffn_width


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSpec:
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    words = ["state", "decay", "gate", "memory", "chunk", "head"]
    for number in range(40):
        (folder / f"{number}.txt").write_text(" ".join(rng.choice(words, size=300)))
    return DataSpec(source=str(folder))


@pytest.fixture(scope="module")
def arenas(data: DataSpec) -> Iterator[dict[str, Arena]]:
    """One per user; a server cannot be started as another user by one that is not root."""
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        users = {PRESENT: None, ORDINARY: USER} if os.geteuid() == 0 else {PRESENT: None}
        found = {}
        for name, user in users.items():
            laid = stack.enter_context(bait(user))
            patch.setenv(SECRET_VARIABLE, laid.secret)
            patch.setenv("HOME", str(laid.folder / "home"))
            tasks = "models.sandbox.tasks" if user is None else "ordinary_user_tasks"
            server = ForkServer(tasks=tasks, search_path=[laid.packages, str(HERE)], limits=LIMITS)
            found[name] = Arena(server=stack.enter_context(server), laid=laid, data=data)
            stack.callback(found[name].close)
        yield found


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_policy_refuses_what_it_can_see(name: str, tally: Tally) -> None:
    program = PROGRAMS[name]
    found = check(program.source({}))
    seen = not found.passed
    assert seen is program.seen_by_policy, found.detail
    if seen:
        tally.count("hostile, refused by the policy", contained=True)


@pytest.mark.parametrize("name", PROGRAMS)
def test_without_the_policy_it_is_contained(arenas: dict[str, Arena], name: str, tally: Tally) -> None:
    """For both users at once where the user matters, which also puts each under the other's load."""
    program = PROGRAMS[name]
    users = [user for user in arenas if user == PRESENT or program.family not in SAME_FOR_ALL_USERS]
    problems = _problems({user: arenas[user] for user in users}, program, tally)
    tally.count("hostile, policy on", contained=program.seen_by_policy or not problems)
    assert problems == []


@pytest.mark.nightly
@pytest.mark.parametrize("name", [name for name in PROGRAMS if PROGRAMS[name].family in SAME_FOR_ALL_USERS])
def test_the_others_are_contained_for_an_ordinary_user_too(arenas: dict[str, Arena], name: str, tally: Tally) -> None:
    if ORDINARY not in arenas:
        pytest.skip("only root can start a server as another user; the present user is an ordinary one")
    assert _problems({ORDINARY: arenas[ORDINARY]}, PROGRAMS[name], tally) == []


def _problems(arenas: dict[str, Arena], program: Program, tally: Tally) -> list[str]:
    with ThreadPoolExecutor(len(arenas)) as pool:
        runs = {user: pool.submit(arena.run, program, policy=False) for user, arena in arenas.items()}
    problems = []
    for user, run in runs.items():
        words, found = run.result()
        if not words & program.expected:
            found.append(f"it ended as {sorted(words)}, expected one of {sorted(program.expected)}")
        problems += [f"{user}: {problem}" for problem in found]
        tally.count(f"hostile, policy off, {user}", contained=not found)
    return problems
