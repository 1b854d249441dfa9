"""Whole campaigns with language models: real Ray, real HTTP to a local server, all four agents on the model."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest

from cognition.reader import Reader
from cognition.records import Candidate, Insight, LlmCall, Report, ReportKind, Reward, Synthesis, Trial, Verdict
from orchestrator.campaign import Campaign
from orchestrator.result import Result
from tests.model_server.brain import answer, role_of
from tests.model_server.server import FAULTS, Asked, ModelServer
from tests.orchestrator.small import PATIENT

ROOT = Path(__file__).resolve().parents[2]
SMALL = (
    *("+campaign=linear_attn", "scale=tiny", "campaign.founders=[delta_net]", "stages.verify.best=1"),
    *("data.max_bytes=1500000", "cluster.slots=2", "tracking=none", "flow.look_ahead=2", "flow.max_repairs=1"),
    *("llm.calibration=[linear_attention]", "llm.judge_samples=2", "llm.synthesis_every=1"),
    *("llm.retries.base_s=0.02", "llm.retries.num=3"),
    *PATIENT,
)


RECORDED = ("deterministic=true", "budget.candidates=5", "arms=ablation", "seed=40")  # a seed that draws four arms


def at(server: ModelServer, *more: str) -> tuple[str, ...]:
    """A server named on the command line; Ray's workers here were started before it."""
    return (
        *SMALL,
        "llm=local",
        f"llm.models.served.api_base={server.url}",
        "llm.models.served.timeout_s=60",  # an answer that comes later is nobody's, and the books would differ
        *more,
    )


def run(folder: Path, *overrides: str) -> Result:
    return Campaign.compose(f"run.root={folder.parent}", f"run.name={folder.name}", *overrides).run()


def essence(folder: Path) -> dict[str, object]:
    """What a recording has to reproduce: every candidate, every examination, every figure, every word."""
    reader = Reader(folder)
    return {
        "candidates": sorted(
            (c.number, c.attempt, c.arm, c.candidate_id, c.mode, c.model or "") for c in reader.rows(Candidate)
        ),
        "reports": sorted((r.number, r.attempt, r.kind.value) for r in reader.rows(Report)),
        "losses": sorted((t.trial_id, t.loss or 0.0) for t in reader.rows(Trial)),
        "fitness": sorted((v.number, v.fitness or 0.0, v.opinion or 0.0) for v in reader.rows(Verdict)),
        "insights": sorted((i.insight_id, i.claim, i.effect) for i in reader.rows(Insight)),
        "syntheses": sorted((s.round, s.text) for s in reader.rows(Synthesis)),
    }


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]


def content(path: Path) -> bytes:
    """What a file holds; nothing where whoever owns it has just removed it."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def books_agree(folder: Path, server: ModelServer) -> list[LlmCall]:
    """The store's calls against the server's own count; whoever was not answered is reserved and marked."""
    calls = Reader(folder).rows(LlmCall)
    charged = Counter((call.input_tokens, call.output_tokens) for call in calls if call.outcome.charged)
    served = Counter((entry.prompt_tokens, entry.completion_tokens) for entry in server.books.answered())
    assert charged == served
    assert len(calls) >= len(server.books.served)
    for call in calls:
        assert (call.held_tokens > 0) == call.outcome.unanswered
    return calls


@pytest.fixture(scope="module")
def recorded(ray_here: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, list[LlmCall]]:
    """A deterministic campaign with some of everything going wrong."""
    folder = tmp_path_factory.mktemp("runs") / "recorded"
    faults = {fault: 0.03 for fault in FAULTS if fault != "delay"}
    with ModelServer(answer, faults=faults, seed=4) as server:
        result = run(folder, *at(server, *RECORDED))
        return result, books_agree(folder, server)


def test_all_four_agents_play_their_roles_on_the_model(recorded: tuple[Result, list[LlmCall]]) -> None:
    result, calls = recorded
    assert result.stopped_by is None
    assert {call.role for call in calls} == {"researcher", "engineer", "judge", "analyst", "summary"}
    assert {call.purpose for call in calls} >= {"propose", "repair", "assess", "calibrate", "explain", "synthesise"}
    reader = Reader(result.folder)
    written = [c for c in reader.rows(Candidate) if c.arm.startswith("llm")]
    assert written
    assert all(c.model == "openai/scripted-1" and c.mode for c in written)
    repaired = [c for c in written if c.repairs is not None]
    reports = {(report.number, report.attempt): report.kind for report in reader.rows(Report)}
    assert any(reports[c.number, c.attempt] is ReportKind.passed for c in repaired)
    verdicts = [v for v in reader.rows(Verdict) if v.fitness is not None]
    assert any(v.num_opinions == 2 and v.quality_source == "both" for v in verdicts)
    assert {i.source for i in reader.rows(Insight)} == {"measured", "llm"}
    assert reader.query("SELECT count(*) FROM calibrations WHERE round = 0").rows == [(1,)]


def test_every_call_is_stored_with_what_it_was(recorded: tuple[Result, list[LlmCall]]) -> None:
    result, calls = recorded
    for call in calls:
        assert call.prompt.split("/")[0] == call.role
        assert call.prompt_version
        assert json.loads(call.messages)[0]["role"] == "system"
        assert not call.outcome.charged or call.latency_s > 0
    for candidate in Reader(result.folder).rows(Candidate):
        if candidate.model is not None:
            assert any(call.candidate_id == candidate.candidate_id and call.reply for call in calls)
    (row,) = Reader(result.folder).query("SELECT sum(num_calls), sum(num_answered) FROM models").rows
    assert row[0] == len(calls)


def test_arms_are_visible_and_keep_to_their_aids(recorded: tuple[Result, list[LlmCall]]) -> None:
    result, calls = recorded
    arms = {row[0] for row in Reader(result.folder).query("SELECT arm FROM arms").rows}
    assert arms >= {"llm", "llm_no_cognition", "llm_no_analysis", "grammar"}
    for call in calls:
        if call.purpose == "propose":
            assert ("From the literature" in call.messages) == (call.arm != "llm_no_cognition")
            if call.arm == "llm_no_analysis":
                assert "Findings of the analyst" not in call.messages


def test_rewards_are_rows_of_whoever_was_asked(recorded: tuple[Result, list[LlmCall]]) -> None:
    result, calls = recorded
    rewards = Reader(result.folder).rows(Reward)
    proposed = {(call.number, call.attempt) for call in calls if call.purpose == "propose"}
    assert {(r.number, r.attempt) for r in rewards if r.role == "researcher"} == proposed
    assert all(0 <= reward.reward <= 1 for reward in rewards)


@pytest.mark.nightly
def test_the_recording_runs_again_without_a_server(recorded: tuple[Result, list[LlmCall]], tmp_path: Path) -> None:
    original, calls = recorded
    folder = tmp_path / "again"
    again = run(
        folder,
        *(item for item in SMALL if not item.startswith("llm.")),
        *(*RECORDED, f"llm.transcript={original.folder}"),
    )
    assert again.stopped_by is None
    assert essence(folder) == essence(original.folder)
    replayed = Reader(folder).rows(LlmCall)
    assert sum(call.usd for call in replayed) == 0
    assert {call.reply for call in replayed} <= {call.reply for call in calls}


@pytest.mark.nightly
def test_what_is_doubtful_is_put_to_the_judge_and_its_refusal_reaches_the_next_prompts(
    ray_here: None, tmp_path: Path
) -> None:
    folder = tmp_path / "doubtful"
    turns = itertools.cycle((True, False))

    def judging(asked: Asked) -> str:
        asks_for_novelty = role_of(asked) == "judge" and "same idea" in asked.user
        return json.dumps({"same": next(turns)}) if asks_for_novelty else answer(asked)

    asks = ("novelty.ask_model=true", "novelty.doubtful_motivation=0.0", "flow.max_repairs=2")
    with ModelServer(judging, faults={}, seed=4) as server:
        result = run(folder, *at(server, "arms=llm", "deterministic=true", "budget.candidates=6", "seed=3", *asks))
        calls = books_agree(folder, server)
    assert result.stopped_by is None
    asked = [call for call in calls if call.purpose == "novelty"]
    assert {call.role for call in asked} == {"judge"}
    verdicts = {(call.number, call.attempt): json.loads(call.reply)["same"] for call in asked}
    assert set(verdicts.values()) == {True, False}
    reader = Reader(folder)
    reports = {(report.number, report.attempt): report for report in reader.rows(Report)}
    names = {c.candidate_id: c.name for c in reader.rows(Candidate)}
    for place, same in verdicts.items():
        report = reports[place]
        assert (report.kind is ReportKind.duplicate, report.duplicate_by == "opinion") == (same, same)
        assert report.motivation_id is not None
        if same:
            assert names[report.motivation_id] in report.detail
            assert f"similarity {report.motivation_similarity:.2f}" in report.detail
    told = next(report.detail for report in reports.values() if report.duplicate_by == "opinion")
    assert any(call.purpose == "repair" and told in json.loads(call.messages)[1]["content"] for call in calls)


@pytest.mark.nightly
def test_a_campaign_ends_when_everything_fails_at_a_fifth_together(ray_here: None, tmp_path: Path) -> None:
    folder = tmp_path / "faulty"
    with ModelServer(answer, faults=dict.fromkeys(FAULTS, 0.2), delay_s=4.5) as server:
        result = run(
            folder, *at(server, "arms=llm", "budget.candidates=3", "llm.models.served.timeout_s=4", "llm.retries.num=2")
        )
        books_agree(folder, server)
    assert result.stopped_by is None
    numbers = {report.number for report in Reader(folder).rows(Report)}
    assert numbers == {0, 1, 2, 3}
    without = [report for report in Reader(folder).rows(Report) if report.kind is ReportKind.no_proposal]
    assert all("openai/scripted-1" in report.detail and report.asked_arm == "llm" for report in without)
    (counted,) = Reader(folder).query("SELECT num_no_proposal FROM arms WHERE arm = 'llm'").rows
    assert counted == (len(without),)


@pytest.mark.nightly
@pytest.mark.parametrize("fault", FAULTS)
def test_a_campaign_ends_when_one_thing_fails_at_a_fifth(ray_here: None, tmp_path: Path, fault: str) -> None:
    folder = tmp_path / fault
    timeout = "llm.models.served.timeout_s=4" if fault == "delay" else "llm.models.served.timeout_s=60"
    with ModelServer(answer, faults={fault: 0.2}, delay_s=4.5) as server:
        result = run(folder, *at(server, "budget.candidates=3", timeout, "arms=llm"))
        books_agree(folder, server)
    assert result.stopped_by is None
    assert {report.number for report in Reader(folder).rows(Report)} == {0, 1, 2, 3}


@pytest.mark.nightly
def test_it_stops_without_answers_and_within_one_call_of_its_budget_and_goes_on(ray_here: None, tmp_path: Path) -> None:
    folder = tmp_path / "poor"
    price = "+llm.models.served.price={input: 1.0, output: 4.0, cached: 0.1}"
    roles = [f"llm.roles.{role}.max_output_tokens=4000" for role in ("researcher", "engineer", "judge", "analyst")]
    few = ("budget.candidates=5", "stages.verify.best=0", "fitness.opinion_share=0", "arms=llm", "llm.patience=2")
    with ModelServer(answer, faults={"server_error": 1.0}) as server:
        overrides = at(server, price, *roles, *few, "llm.retries.num=1")

        stopped = run(folder, *overrides, "budget.usd=0.05")
        assert stopped.stopped_by is not None
        assert "2 numbers in a row got no proposal, the last because of openai/scripted-1" in stopped.stopped_by
        server.faults = {}

        stopped = run(folder, *overrides, "budget.usd=0.05")
        assert stopped.stopped_by is not None
        assert "budget reached, usd" in stopped.stopped_by
        calls = books_agree(folder, server)
        intents = Reader(folder).query("SELECT detail FROM events WHERE kind = 'intent' AND subject LIKE 'call/%'").rows
        largest = max(json.loads(detail)["held_usd"] for (detail,) in intents)
        spent = sum(call.usd + call.held_usd for call in calls)
        assert 0.05 - largest < spent <= 0.05
        num_served = len(server.books.served)

        done = run(folder, *overrides, "budget.usd=5")
        assert done.stopped_by is None
        calls = books_agree(folder, server)
        assert len(calls) > num_served
        assert sum(row.settled.usd for row in done.spend) == pytest.approx(sum(call.usd for call in calls))
        kinds = {report.number: report.kind for report in Reader(folder).rows(Report) if report.attempt == 0}
        assert {number for number, kind in kinds.items() if kind is ReportKind.no_proposal} == {1, 2}
        assert set(kinds) == set(range(6))


def test_one_line_starts_it_and_a_planted_key_is_nowhere(tmp_path: Path) -> None:
    key = "sk-planted-5f2c9b7e41d04aa3"
    folder = tmp_path / "runs" / "keyed"
    overrides = [item for item in SMALL if not item.startswith("tracking")]
    with (
        ModelServer(answer) as server,
        tempfile.TemporaryDirectory(
            prefix="r",  # sockets want short paths
            ignore_cleanup_errors=True,  # Ray's processes end a moment after the campaign
        ) as rays,
    ):
        ended = subprocess.run(
            [
                *(sys.executable, "-m", "orchestrator", *overrides, "tracking=offline", "budget.candidates=1"),
                "stages.verify.best=0",
                *(f"run.root={folder.parent}", f"run.name={folder.name}"),
            ],
            cwd=ROOT,
            env={**os.environ, "OPENAI_API_BASE": server.url, "OPENAI_API_KEY": key, "RAY_TMPDIR": rays},
            capture_output=True,
            text=True,
            timeout=550,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        assert "models      researcher, engineer, judge, analyst, summary: openai/scripted-1" in ended.stdout
        assert {headers["authorization"] for headers in server.headers_seen} == {f"Bearer {key}"}
        asked = json.dumps([entry.asked.body for entry in server.books.served])
        logs = files(Path(rays))
        assert any(path.suffix == ".log" for path in logs)
        found = [path for path in (*logs, *files(tmp_path)) if key.encode() in content(path)]
    assert found == []
    assert key not in ended.stdout + ended.stderr + asked
    assert any(folder.rglob("*.wandb")), "W&B wrote nothing to look through"
    for call in Reader(folder).rows(LlmCall):
        assert key not in repr(call)
