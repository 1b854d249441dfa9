"""Whole campaigns at the tiny scale: real Ray, real trials, real store. What a user relies on, asserted on rows."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from cognition.reader import Reader
from cognition.records import Candidate, Claim, ClaimState, Event, Insight, Metric, Report, Trial, Verdict
from orchestrator import __main__ as command
from orchestrator import status, stop
from orchestrator.campaign import Campaign
from orchestrator.population import CLIMBED
from orchestrator.result import Result
from orchestrator.run_folder import RunFolder
from tests.orchestrator.small import PATIENT

FOUNDERS = ("delta_net", "linear_attention")  # two, since each is examined by every campaign here
NUM_CANDIDATES = 4
TINY = (
    "+campaign=linear_attn",
    "scale=tiny",
    f"campaign.founders=[{','.join(FOUNDERS)}]",
    f"budget.candidates={NUM_CANDIDATES}",
    "data.max_bytes=1500000",
    "deterministic=true",
    "flow.look_ahead=3",  # the last numbers see finished ones, so that some have parents
    *PATIENT,
)
ROOT = Path(__file__).resolve().parents[2]


def overrides_for(folder: Path) -> tuple[str, ...]:
    return (*TINY, f"run.root={folder.parent}", f"run.name={folder.name}")


def run(folder: Path, *overrides: str) -> Result:
    return Campaign.compose(*overrides_for(folder), *overrides).run()


def essence(folder: Path) -> dict[str, object]:
    """What one seed has to reproduce: the candidates, what was refused, and every figure."""
    reader = Reader(folder)
    return {
        "candidates": sorted((c.number, c.attempt, c.arm, c.candidate_id) for c in reader.rows(Candidate)),
        "reports": sorted((r.number, r.attempt, r.kind.value, r.fingerprint) for r in reader.rows(Report)),
        "losses": sorted((t.trial_id, t.loss, t.benchmark) for t in reader.rows(Trial)),
        "fitness": sorted((v.number, v.fitness) for v in reader.rows(Verdict)),
        "insights": sorted((i.insight_id, i.effect, i.low) for i in reader.rows(Insight)),
        "climbed": sorted((e.detail, e.subject) for e in reader.rows(Event) if e.kind == CLIMBED),
        "claims": sorted({(c.candidate_id, c.difference, c.low) for c in reader.rows(Claim)}),
    }


@pytest.fixture(scope="module", autouse=True)
def patience_with_wandb() -> Iterator[None]:
    """Its runs are written with what time the machine has left: all of them are waited for here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("orchestrator.tracking._DRAIN_S", 300.0)
        yield


@pytest.fixture(scope="module")
def finished(ray_here: None, tmp_path_factory: pytest.TempPathFactory) -> Result:
    return run(tmp_path_factory.mktemp("runs") / "finished", "cluster.slots=2", "tracking=offline")


def test_a_campaign_ends_with_verified_differences_to_the_best_baseline(finished: Result) -> None:
    assert finished.stopped_by is None
    reader = Reader(finished.folder)
    numbers = {candidate.number for candidate in reader.rows(Candidate)}
    assert numbers == set(range(len(FOUNDERS) + NUM_CANDIDATES))
    verified = [trial for trial in reader.rows(Trial) if trial.stage == "verify"]
    assert len(finished.claims) == 3
    assert {trial.split for trial in verified} == {"heldout"}
    for claim in finished.claims:
        assert claim.num_seeds == 2
        assert claim.low is claim.high is None, "two seeds beside one baseline refute nothing"
        assert claim.state is (ClaimState.undecided if claim.difference < 0 else ClaimState.rejected)
        assert claim.e_value > 0
        assert claim.num_looks > 0


def test_every_trained_candidate_is_scored_and_explained(finished: Result) -> None:
    reader = Reader(finished.folder)
    passed = {r.candidate_id for r in reader.rows(Report) if not r.refused}
    assert {v.candidate_id for v in reader.rows(Verdict)} == passed
    children = [c for c in reader.rows(Candidate) if c.parent_ids and c.candidate_id in passed]
    explained = {i.candidate_id for i in reader.rows(Insight) if i.against == "parent"}
    assert children
    assert {c.candidate_id for c in children} <= explained
    for insight in reader.rows(Insight):
        assert insight.low < insight.effect < insight.high
        assert set(insight.evidence) <= {t.trial_id for t in reader.rows(Trial)}


def test_exploration_and_verification_share_no_seed_and_no_data(finished: Result) -> None:
    trials = Reader(finished.folder).rows(Trial)
    explore = {t.seed for t in trials if t.stage == "explore"}
    verify = {t.seed for t in trials if t.stage == "verify"}
    assert not explore & verify
    assert {t.split for t in trials if t.stage == "explore"} == {"validation"}


def test_every_trial_fits_the_parameter_budget(finished: Result) -> None:
    trials = Reader(finished.folder).rows(Trial)
    reference = Reader(finished.folder).rows(Candidate)[0]
    assert reference.name == "delta_net"
    for stage in ("explore", "verify"):
        sizes = {t.candidate_id: t.num_parameters for t in trials if t.stage == stage and t.succeeded}
        explore = next(
            t.num_parameters
            for t in trials
            if t.stage == "explore" and t.candidate_id == reference.candidate_id and t.num_parameters
        )
        if stage == "explore":
            assert all(abs(size / explore - 1) <= 0.02 for size in sizes.values() if size)


def test_curves_are_kept_for_every_trial(finished: Result) -> None:
    reader = Reader(finished.folder)
    curves = {metric.trial_id for metric in reader.rows(Metric)}
    assert curves == {trial.trial_id for trial in reader.rows(Trial)}


def test_each_trial_is_an_offline_wandb_run(finished: Result) -> None:
    runs = list((finished.folder / "wandb").glob("offline-run-*"))
    assert len(runs) == len(Reader(finished.folder).rows(Trial))
    assert not (finished.folder / "tracking.log").exists()


@pytest.mark.nightly
def test_one_slot_gives_the_same_campaign_as_two(finished: Result, tmp_path: Path) -> None:
    run(tmp_path / "single", "cluster.slots=1", "tracking=none")
    assert essence(tmp_path / "single") == essence(finished.folder)


def test_a_finished_campaign_shows_its_results_again_without_training(
    finished: Result, capsys: pytest.CaptureFixture[str]
) -> None:
    before = essence(finished.folder)
    code = command.main(
        [*TINY, f"run.root={finished.folder.parent}", f"run.name={finished.folder.name}", "tracking=none"]
    )
    printed = capsys.readouterr().out
    assert code == 0
    assert "is finished" in printed
    assert "difference to the best baseline" in printed
    assert essence(finished.folder) == before


def test_another_configuration_is_refused_with_exit_code_2(
    finished: Result, capsys: pytest.CaptureFixture[str]
) -> None:
    code = command.main([*TINY, f"run.root={finished.folder.parent}", f"run.name={finished.folder.name}", "seed=9"])
    assert code == 2
    assert "seed was 0, now 9" in capsys.readouterr().err


def test_status_and_stop_answer_for_a_campaign_that_does_not_run(
    finished: Result, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status.main([str(finished.folder)]) == 0
    assert "finished" in capsys.readouterr().out
    assert stop.main([str(finished.folder)]) == 0
    assert "is not running" in capsys.readouterr().out
    for command_line in (status.main, stop.main):
        assert command_line([str(finished.folder.parent)]) == 2
        assert "no config.yaml" in capsys.readouterr().err
        assert command_line([]) == 2
        assert "runs/NAME" in capsys.readouterr().err


@pytest.fixture(scope="module")
def longer(finished: Result, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """With one more candidate, and a tracker that W&B refuses."""
    folder = tmp_path_factory.mktemp("runs") / "longer"
    shutil.copytree(finished.folder, folder)
    return run(
        folder,
        *(f"budget.candidates={NUM_CANDIDATES + 1}", "tracking=offline", "tracking.project=no/such:project"),
    )


def test_a_larger_budget_extends_a_finished_campaign(finished: Result, longer: Result) -> None:
    before = {t.trial_id for t in Reader(finished.folder).rows(Trial)}
    after = [t.trial_id for t in Reader(longer.folder).rows(Trial)]
    assert longer.stopped_by is None
    assert before < set(after)
    assert len(after) == len(set(after))
    assert {c.number for c in Reader(longer.folder).rows(Candidate)} == set(range(len(FOUNDERS) + NUM_CANDIDATES + 1))


def test_a_broken_wandb_never_touches_a_trial(finished: Result, longer: Result) -> None:
    assert (longer.folder / "tracking.log").read_text()
    before = {t.trial_id for t in Reader(finished.folder).rows(Trial)}
    assert [t.detail for t in Reader(longer.folder).rows(Trial) if t.trial_id not in before and not t.succeeded] == []


def test_damaged_fragments_are_named_and_what_they_held_is_made_again(finished: Result, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(finished.folder, folder)
    for table in ("candidates", "reports", "verdicts", "events", "claims"):
        for fragment in sorted((folder / "lineage" / table).glob("*.parquet"))[-2:]:
            fragment.write_bytes(fragment.read_bytes()[:40])
    campaign = Campaign.compose(*overrides_for(folder), "tracking=none")
    result = campaign.run()
    assert result.stopped_by is None
    assert len(result.set_aside) >= 5
    trials = {trial.trial_id for trial in Reader(folder).rows(Trial)}
    assert trials >= {trial.trial_id for trial in Reader(finished.folder).rows(Trial)}
    members = {member.candidate.number for member in result.members if member.fitness is not None}
    assert members == {member.candidate.number for member in finished.members if member.fitness is not None}
    assert {claim.candidate_id for claim in result.claims} >= {claim.candidate_id for claim in finished.claims}


def test_lost_verification_is_done_again_and_the_damage_is_told(
    finished: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "unverified"
    shutil.copytree(finished.folder, folder)
    for fragment in (folder / "lineage" / "claims").glob("*.parquet"):
        fragment.write_bytes(fragment.read_bytes()[:40])
    assert command.main([*overrides_for(folder), "tracking=none"]) == 0
    printed = capsys.readouterr().out
    assert "set aside" in printed
    claims = {(claim.candidate_id, claim.difference) for claim in Reader(folder).rows(Claim)}
    assert claims == {(claim.candidate_id, claim.difference) for claim in finished.claims}


@pytest.mark.nightly
def test_a_tight_budget_waits_for_what_is_held_and_stops_in_one_line(ray_here: None, tmp_path: Path) -> None:
    # 0.0042 h is 15 s: one worst case (10 s) fits at a time, while trials really take a second, the first a few
    worst = ("scale.stages.explore.deadline_s=10", "scale.stages.verify.deadline_s=10")
    result = run(tmp_path / "poor", "tracking=none", *worst, "budget.slot_hours=0.0042", "budget.candidates=40")
    assert result.stopped_by is not None
    assert result.stopped_by.startswith("budget reached, slot_hours")
    assert "\n" not in result.stopped_by
    assert len(Reader(tmp_path / "poor").rows(Trial)) >= 3
    assert sum(spend.settled.slot_hours for spend in result.spend) <= 0.0042
    assert Reader(tmp_path / "poor").rows(Event)[-1].kind == "campaign_stopped"


def test_an_unreachable_ray_is_one_line_and_no_wait(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    process = start(tmp_path / "unreachable", "cluster.address=127.0.0.1:1", "cluster.connect_timeout_s=2")
    assert process.wait(timeout=200) == 2
    _, told = process.communicate()
    assert "no Ray answers at 127.0.0.1:1" in told
    assert "Traceback" not in told


def test_a_server_that_is_no_ray_is_told_at_once(tmp_path: Path) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        process = start(tmp_path / "dashboard", f"cluster.address=127.0.0.1:{server.server_port}")
        try:
            assert process.wait(timeout=200) == 2
        finally:
            server.shutdown()
    _, told = process.communicate()
    assert "is no Ray: give the port of `ray start --head`" in told
    assert "Traceback" not in told


# ---- real processes -------------------------------------------------------------------------------------------


# Where the campaigns started here keep what is temporary: the name of it tells their fork servers from those of others.
OWN = Path(tempfile.gettempdir(), f"campaigns-{os.getpid()}")


@pytest.fixture(scope="module", autouse=True)
def own_folder() -> Iterator[None]:
    OWN.mkdir()
    OWN.chmod(0o711)  # children of the jail are another user
    yield
    shutil.rmtree(OWN)


def start(folder: Path, *overrides: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "orchestrator",
            *TINY,
            f"run.root={folder.parent}",
            f"run.name={folder.name}",
            "tracking=none",
            *overrides,
        ],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(OWN), "RAY_TMPDIR": tempfile.gettempdir()},  # Ray's sockets want short paths
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


RAYS_OWN = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")  # they notice within a minute that their raylet is gone


def servers() -> list[psutil.Process]:
    """Fork servers of the campaigns started here, which are nobody's children, and what they forked."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if "models.sandbox.server" in (words := process.info["cmdline"] or []) and any(str(OWN) in w for w in words)
    ]


def descendants(process: subprocess.Popen[str]) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        children = psutil.Process(process.pid).children(recursive=True)
        return [child for child in {*children, *servers()} if child.name() not in RAYS_OWN]
    return []


def wait_for(process: subprocess.Popen[str], condition: Callable[[], bool], timeout_s: float = 300) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def rows(folder: Path, kind: type[Trial] | type[Report] | type[Verdict] | type[Event]) -> list[object]:
    with contextlib.suppress(ValueError):
        return list(Reader(folder).rows(kind))
    return []


def moments(folder: Path) -> Iterator[tuple[str, Callable[[], bool]]]:
    yield "after the first intent", lambda: any(e.kind == "intent" for e in rows(folder, Event))  # type: ignore[attr-defined]
    yield "while the baselines train", lambda: len(rows(folder, Trial)) >= 2
    yield "when the first verdicts are in", lambda: len(rows(folder, Verdict)) >= 1
    yield "between proposals", lambda: len(rows(folder, Report)) >= 5
    yield "when the best have climbed", lambda: sum(e.kind == CLIMBED for e in rows(folder, Event)) > 1  # type: ignore[attr-defined]


def described(process: psutil.Process) -> str:
    """Enough to tell whose it is and what it waits for."""
    with contextlib.suppress(psutil.Error, OSError):
        stack = Path(f"/proc/{process.pid}/stack").read_text() if os.geteuid() == 0 else ""
        return f"{process.pid} of {process.ppid()}, {process.status()}: {process.cmdline()[:5]} {stack}"
    return f"{process.pid}, gone by now"


@pytest.mark.nightly
@pytest.mark.parametrize("kills", [(4,), (0, 1, 2, 3, 4)])
def test_sigkills_lose_nothing_and_repeat_nothing(finished: Result, tmp_path: Path, kills: tuple[int, ...]) -> None:
    folder = tmp_path / "killed"
    for moment, reached in [list(moments(folder))[kill] for kill in kills]:
        process = start(folder, "checkpoints.every_s=0.001")  # which changes no figure
        wait_for(process, reached)
        left = descendants(process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.stderr is not None
        process.stderr.close()
        _, alive = psutil.wait_procs(left, timeout=100)
        assert not alive, f"left behind when killed {moment}: {[described(p) for p in alive]}"
    process = start(folder, "checkpoints.every_s=0.002")  # a number that may change
    assert process.wait(timeout=200) == 0, process.communicate()[1]
    assert process.stderr is not None
    process.stderr.close()
    assert essence(folder) == essence(finished.folder)
    left = [path.name for path in (folder / "checkpoints").iterdir() if not path.name.endswith(".weights.npz")]
    assert left == []  # but the weights of what was verified
    trials = [trial for trial in rows(folder, Trial) if isinstance(trial, Trial)]
    assert len({trial.trial_id for trial in trials}) == len(trials)
    ended = {f"train/{trial.trial_id}": trial.finished_at for trial in trials}
    for event in rows(folder, Event):
        assert isinstance(event, Event)
        if event.subject in ended:
            assert event.created_at < ended[event.subject], "a finished trial was asked for again"


def test_sigterm_is_a_clean_stop_and_a_second_driver_is_refused(tmp_path: Path) -> None:
    folder, long = tmp_path / "stopped", "budget.candidates=200"  # so that it runs until it is told to stop
    process = start(folder, long)
    wait_for(process, lambda: len(rows(folder, Trial)) >= 1)
    second = start(folder, long)
    assert second.wait(timeout=200) == 2
    assert f"process {process.pid}" in second.communicate()[1]
    holder = RunFolder(folder).holder(time.time())
    assert holder is not None
    assert holder.pid == process.pid
    left = descendants(process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=200) == 143
    assert "Traceback" not in process.communicate()[1]
    _, alive = psutil.wait_procs(left, timeout=100)
    assert not alive
    events = [event for event in rows(folder, Event) if isinstance(event, Event)]
    assert (events[-1].kind, events[-1].detail) == ("campaign_stopped", "SIGTERM")
    assert RunFolder(folder).holder(time.time()) is None


def test_sql_from_another_process_on_a_campaigns_rows(finished: Result) -> None:
    query = "SELECT name, fitness FROM leaderboard LIMIT 3"
    asked = subprocess.run(
        [
            sys.executable,
            "-m",
            "cognition",
            "sql",
            query,
            "--run",
            str(finished.folder),
            "--format",
            "json",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONWARNINGS": "default"},
    )
    best = json.loads(asked.stdout)
    assert [row["fitness"] for row in best] == sorted((row["fitness"] for row in best), reverse=True)
