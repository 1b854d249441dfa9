"""Processes die at any time: what a campaign's rows say afterwards. Real processes, real SIGKILLs, deterministic mode.

The same seed without a fault gives the ledger that each of these has to end with.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from cognition.reader import Reader
from cognition.records import Candidate, Claim, Event, Insight, Record, Report, Trial, Verdict
from tests.orchestrator.processes import Running, campaign, gone, kill

SMALL = (
    *("+campaign=linear_attn", "scale=tiny", "campaign.founders=[delta_net,linear_attention]", "budget.candidates=4"),
    *("data.max_bytes=1500000", "deterministic=true", "flow.look_ahead=3", "tracking=none", "cluster.slots=2"),
)


def rows(folder: Path, kind: type[Record]) -> Sequence[Record]:
    """What the store holds at this moment; nothing before there is one."""
    try:
        return Reader(folder).rows(kind)
    except ValueError:
        return ()


def num_trials(folder: Path) -> int:
    return len(rows(folder, Trial))


def ledger(folder: Path) -> dict[str, object]:
    """What one seed has to reproduce: the candidates, what was refused, and every figure."""
    reader = Reader(folder)
    return {
        "candidates": sorted((c.number, c.attempt, c.arm, c.candidate_id) for c in reader.rows(Candidate)),
        "reports": sorted((r.number, r.attempt, r.kind.value, r.fingerprint) for r in reader.rows(Report)),
        "trials": sorted((t.trial_id, t.status.value, t.loss, t.benchmark) for t in reader.rows(Trial)),
        "fitness": sorted((v.number, v.fitness) for v in reader.rows(Verdict)),
        "insights": sorted((i.insight_id, i.effect, i.low) for i in reader.rows(Insight)),
        "claims": sorted((c.candidate_id, c.stage, c.difference, c.low) for c in reader.rows(Claim)),
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "undisturbed"
    with campaign(folder, *SMALL) as running:
        code, told = running.end()
    assert code == 0, told
    return folder


def test_one_of_each_dies_and_the_ledger_is_that_of_an_undisturbed_campaign(undisturbed: Path, tmp_path: Path) -> None:
    """A trial's child, a trial's actor, a fork server, the engine, and each agent's actor, one after the other."""
    folder, rng = tmp_path / "killed", random.Random(0)
    with campaign(folder, *SMALL) as running:
        for kind, moment in (
            ("child", lambda: num_trials(folder) >= 1),
            ("TrialHost", lambda: num_trials(folder) >= 2),
            ("TrialEngineActor", lambda: num_trials(folder) >= 4),
            ("EngineerActor", lambda: num_trials(folder) >= 5),
            ("server", lambda: num_trials(folder) >= 6),
            ("JudgeActor", lambda: num_trials(folder) >= 6),
            ("AnalystActor", lambda: num_trials(folder) >= 7),
            ("ResearcherActor", lambda: num_trials(folder) >= 7),
            ("ExaminerActor", lambda: num_trials(folder) >= 7),
        ):
            running.wait_for(moment)
            running.wait_for(_killed(running, kind, rng))
        code, told = running.end()
        assert (code, "Traceback" in told) == (0, False), told
        assert not gone(running.all())
    assert ledger(folder) == ledger(undisturbed)
    once = [trial.trial_id for trial in rows(folder, Trial) if isinstance(trial, Trial)]
    assert len(set(once)) == len(once)


def _killed(running: Running, kind: str, rng: random.Random) -> Callable[[], bool]:
    return lambda: kill(running.of_kind(kind), rng) is not None


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.nightly) for seed in range(2, 10))])
def test_chaos(undisturbed: Path, tmp_path: Path, seed: int) -> None:
    """Something random dies every few seconds, the driver too; the same command is given until the campaign is done."""
    folder, rng = tmp_path / "chaos", random.Random(seed)
    kinds = ("child", "server", "TrialHost", "TrialEngineActor", "ExaminerActor", "LedgerActor", "driver")
    kinds += ("ResearcherActor", "EngineerActor", "JudgeActor", "AnalystActor", "raylet")
    killed, deaths = [], 0
    while True:
        deaths += 1
        assert deaths < 20, killed
        with campaign(folder, *SMALL) as running:
            next_kill = time.monotonic() + rng.uniform(6, 12)  # Ray takes some seconds to start
            while running.driver.poll() is None:
                time.sleep(0.1)
                if time.monotonic() >= next_kill and len(killed) < 12:
                    kind = rng.choice(kinds)
                    if kill(running.of_kind(kind), rng) is not None:
                        killed.append(kind)
                    next_kill = time.monotonic() + rng.uniform(1, 4)
            code, told = running.end()
            assert code in (0, -signal.SIGKILL), (code, told, killed)
            assert not gone(running.all()), killed
        events = [event for event in rows(folder, Event) if isinstance(event, Event)]
        if events and events[-1].kind == "campaign_finished":
            break
    assert killed
    assert ledger(folder) == ledger(undisturbed), killed
