"""Processes die at any time: what a campaign's rows say afterwards. Real processes, real SIGKILLs, deterministic mode.

The same seed without a fault gives the ledger that each of these has to end with. What was spent may differ: attempts
that were cut off are charged too.
"""

from __future__ import annotations

import math
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cognition.reader import Reader
from cognition.records import Charge, ChargeOutcome
from tests.orchestrator.processes import Running, campaign, gone, kill, kill_at_work
from tests.orchestrator.small import SMALL, events, ledger, trials

AT_WORK = "ResourceTrainable.train"  # what Ray calls the host of a trial, as Tune has wrapped it, while that runs


def test_one_of_each_dies_and_the_ledger_is_that_of_an_undisturbed_campaign(undisturbed: Path, tmp_path: Path) -> None:
    """A trial's child, a trial's actor, the engine, each agent's actor, a fork server: one after the other."""
    folder, rng = tmp_path / "killed", random.Random(0)
    with campaign(folder, *SMALL) as running:
        for kind, num_trials in (
            *(("child", 1), (AT_WORK, 2), ("TrialEngineActor", 3), ("EngineerActor", 4), ("server", 4)),
            *(("JudgeActor", 5), ("AnalystActor", 5), ("ResearcherActor", 5), ("ExaminerActor", 5)),
        ):
            running.wait_for(lambda least=num_trials: len(trials(folder)) >= least, timeout_s=600)
            running.wait_for(_killed(running, kind, rng))
        code, told = running.end(timeout_s=600)
        assert (code, "Traceback" in told) == (0, False), told
        assert not gone(running.all())
    assert ledger(folder) == ledger(undisturbed)
    assert len({trial.trial_id for trial in trials(folder)}) == len(trials(folder))
    charges = Reader(folder).rows(Charge)
    assert {charge.trial_id for charge in charges if charge.outcome is ChargeOutcome.finished} == {
        trial.trial_id for trial in trials(folder)
    }
    assert any(charge.outcome is ChargeOutcome.lost for charge in charges)


def _killed(running: Running, kind: str, rng: random.Random) -> Callable[[], bool]:
    if kind == AT_WORK:
        return lambda: kill_at_work(running, kind, rng) is not None
    return lambda: kill(running.of_kind(kind), rng) is not None


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(10))
def test_chaos(undisturbed: Path, tmp_path: Path, seed: int) -> None:
    """Something random dies every few seconds, the driver too; the same command is given until the campaign is done."""
    folder, rng = tmp_path / "chaos", random.Random(seed)
    kinds = ("child", "server", "TrialHost", "TrialEngineActor", "ExaminerActor", "LedgerActor", "driver")
    kinds += ("ResearcherActor", "EngineerActor", "JudgeActor", "AnalystActor", "raylet")
    killed: list[str] = []
    for _ in range(20):
        with campaign(folder, *SMALL) as running:
            next_kill = math.inf
            while running.driver.poll() is None:
                time.sleep(0.1)
                if next_kill == math.inf and running.of_kind("ExaminerActor"):  # Ray has started, however long it took
                    next_kill = time.monotonic() + rng.uniform(0, 5)
                if time.monotonic() >= next_kill and len(killed) < 5:
                    kind = rng.choice(kinds)
                    if kill(running.of_kind(kind), rng) is not None:
                        killed.append(kind)
                    next_kill = time.monotonic() + rng.uniform(1, 4)
            code, told = running.end()
            assert code in (0, os.EX_TEMPFAIL, -signal.SIGKILL), (code, told, killed)
            assert not gone(running.all()), killed
        if events(folder, "campaign_finished"):
            break
    assert killed
    assert events(folder, "campaign_finished"), killed
    assert ledger(folder) == ledger(undisturbed), killed
    charges = Reader(folder).rows(Charge)
    assert len({charge.charge_id for charge in charges}) == len(charges)
    finished = {charge.trial_id for charge in charges if charge.outcome is ChargeOutcome.finished}
    assert finished == {trial.trial_id for trial in trials(folder)}
