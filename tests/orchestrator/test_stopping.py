"""Stops that finish what is nearly done, with real processes; and what is charged for the rest."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from cognition.reader import Reader
from cognition.records import Charge, ChargeOutcome, Event, Record, Trial
from models.scale import CANARY, TEXT, load_scale
from orchestrator import stop
from orchestrator.board import JobBoard, RunningTrial
from orchestrator.campaign import Campaign
from orchestrator.errors import BudgetReached
from orchestrator.estimate import rest_s
from orchestrator.pools import Pool
from orchestrator.population import Population
from orchestrator.result import Result
from orchestrator.rows import STOPPED, STOPPING
from orchestrator.run_folder import RunFolder
from orchestrator.stopping import Ending, Halt, nearly_done
from tests.cognition.factories import make_candidate, make_trial
from tests.orchestrator.small import PATIENT
from tests.orchestrator.test_trial_engine import order

SCALE = load_scale("tiny")
EXPLORE = SCALE.stage("explore")
Start = Callable[..., subprocess.Popen[str]]
ROOT = Path(__file__).resolve().parents[2]
LONG = (  # a trial that lasts long enough to be met under way
    *("+campaign=linear_attn", "campaign.founders=[delta_net,linear_attention]", "stages.verify.best=0"),
    *("scale=tiny", "scale.stages.explore.steps=800", "scale.stages.explore.report_every=20"),
    *("data.max_bytes=1500000", "tracking=none", "cluster.slots=2", *PATIENT),
)


# ---- who waits, for what, how long ----------------------------------------------------------------------------


async def test_who_would_start_something_new_waits_for_ever_once_there_is_a_reason_to_stop() -> None:
    halt = Halt()
    await asyncio.wait_for(halt.gate(), 1)
    halt.ask("first")
    halt.ask("second")
    waiting = asyncio.create_task(halt.gate())
    await asyncio.sleep(0)
    assert (halt.reason, halt.at_once, waiting.done()) == ("first", False, False)
    waiting.cancel()


async def test_a_limit_is_a_reason_to_stop_and_no_error() -> None:
    async def refused() -> None:
        raise BudgetReached("budget reached, usd")

    async def done() -> int:
        return 7

    halt = Halt()
    assert await halt.within_budget(done()) == 7
    waiting = asyncio.create_task(halt.within_budget(refused()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (halt.reason, waiting.done()) == ("budget reached, usd", False)
    waiting.cancel()


def test_a_second_signal_is_at_once() -> None:
    halt = Halt()
    halt.signalled("SIGINT", now=100.0)
    halt.signalled("SIGINT", now=100.1)
    assert (halt.reason, halt.at_once) == ("SIGINT", False), "the same one, sent to the process and to its group"
    halt.signalled("SIGTERM", now=103.0)
    assert (halt.reason, halt.at_once) == ("SIGINT", True)


def running(task: str, step: int, elapsed_s: float, name: str = "a") -> RunningTrial:
    return RunningTrial(trial_id=name, stage="explore", step=step, loss=2.0, elapsed_s=elapsed_s, task=task)


def test_the_rest_of_a_trial_follows_its_own_pace_and_that_of_others() -> None:
    canary, text, probe = 8 * 8 * 16, 12 * 4 * 32, 8 * 4 * 16  # tokens, in the order in which they are trained
    total = canary + text + probe
    done = canary + text / 2
    assert rest_s(running(TEXT, 6, 10.0), EXPLORE, 12.0) == pytest.approx(10.0 * (total - done) / done)
    assert rest_s(running(CANARY, 8, 1.0), EXPLORE, 40.0) == 39.0, "its own pace is not slower than others'"
    assert rest_s(running("mqar", 8, 50.0), EXPLORE, 40.0) == 0.0, "trained, and longer under way than others"
    assert rest_s(running(TEXT, 6, 0.1), EXPLORE, None) == pytest.approx(EXPLORE.expected_s - 0.1)
    early = running(CANARY, 1, 9.0)
    assert rest_s(early, EXPLORE, 20.0) == pytest.approx(20.0 * (1 - 128 / total)), "getting ready says nothing of it"
    assert rest_s(early, EXPLORE, None) == pytest.approx(9.0 * (1 - 128 / total))


def test_only_what_fits_the_grace_is_waited_for() -> None:
    trials = [running(TEXT, 11, 10.0, "nearly"), running(TEXT, 1, 30.0, "hardly")]
    assert nearly_done(trials, SCALE, {"explore": None}, grace_s=10.0) == ["nearly"]
    assert nearly_done(trials, SCALE, {}, grace_s=0.0) == []


def test_an_ending_waits_for_trials_and_paid_calls_but_not_for_ever() -> None:
    trial = make_trial(make_candidate(1))
    ending = Ending([trial.trial_id], grace_s=10.0, now=100.0)
    assert not ending.over(Population(), num_calls=0, now=115.0)
    assert ending.over(Population(), num_calls=0, now=120.0), "rests are estimates: twice the grace"
    assert ending.over(Population([trial]), num_calls=0, now=101.0)
    assert not ending.over(Population([trial]), num_calls=1, now=101.0)
    assert ending.over(Population([trial]), num_calls=1, now=110.0)
    assert Ending([], grace_s=0.0, now=100.0).over(Population(), num_calls=3, now=100.0)


def test_a_drained_board_hands_out_nothing_more() -> None:
    board = JobBoard({"small": Pool()}, None, lambda: {"CPU": 4})
    board.submit(order("first"))
    board.submit(order("second"))
    assert board.take(block=False) == order("first")
    board.drain()
    assert board.take(block=False) is None
    waiting = threading.Thread(target=board.take, kwargs={"block": True}, daemon=True)
    waiting.start()
    board.submit(order("third"))
    waiting.join(0.2)
    assert waiting.is_alive(), "it waits for the end, although there are jobs"
    board.close()
    waiting.join(10)
    assert not waiting.is_alive()


# ---- campaigns ------------------------------------------------------------------------------------------------


class Stopper:
    """Asks for a stop as soon as a trial runs."""

    def __init__(self) -> None:
        self.running: Sequence[RunningTrial] = ()

    def started(self, campaign: Campaign) -> None:
        pass

    def recorded(self, campaign: Campaign, record: Record) -> None:
        pass

    def tick(self, campaign: Campaign, running: Sequence[RunningTrial]) -> None:
        if running and campaign.halt.reason is None:
            self.running = running
            campaign.halt.ask("the test")

    def ended(self, campaign: Campaign, result: Result) -> None:
        pass

    def failed(self) -> None:
        pass


def overrides_for(folder: Path, *overrides: str) -> tuple[str, ...]:
    return (*LONG, f"run.root={folder.parent}", f"run.name={folder.name}", *overrides)


def rows(folder: Path, kind: type[Any]) -> list[Any]:
    try:
        return list(Reader(folder).rows(kind))
    except ValueError:
        return []


def slot_hours(result: Result) -> float:
    return sum(spend.settled.slot_hours for spend in result.spend)


def charged(folder: Path) -> float:
    return sum(charge.slot_s for charge in rows(folder, Charge)) / 3600


def lost_in(folder: Path) -> list[Charge]:
    return [charge for charge in rows(folder, Charge) if charge.outcome is ChargeOutcome.lost]


@pytest.mark.nightly
def test_a_stop_finishes_what_is_nearly_done_and_charges_the_rest(
    ray_here: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "stopped"

    def run(*overrides: str, views: Sequence[Any] = ()) -> Result:
        return Campaign.compose(*overrides_for(folder, "budget.candidates=0", *overrides), views=views).run()

    # Nothing is finished: what ran is lost, and charged. The engine is killed before it could give back what the trials
    # had set aside, without which the next campaign of this process would wait for ever.
    stopper = Stopper()
    with monkeypatch.context() as patch:
        patch.setattr("orchestrator.crew._CLOSE_S", 0.0)
        stopped = run("flow.grace_s=0", views=[stopper])
    assert stopped.stopped_by == "the test"
    assert rows(folder, Trial) == []
    assert {charge.trial_id for charge in lost_in(folder)} >= {trial.trial_id for trial in stopper.running}
    assert all(charge.estimated and charge.slot_s > 0 for charge in lost_in(folder))
    assert slot_hours(stopped) == pytest.approx(charged(folder))

    # A trial's rest is within the grace: it is finished, and nothing new is started.
    num_lost, stopper = len(lost_in(folder)), Stopper()
    assert run("flow.grace_s=500", views=[stopper]).stopped_by == "the test"
    finished = {trial.trial_id for trial in rows(folder, Trial)}
    assert finished >= {trial.trial_id for trial in stopper.running}
    assert len(finished) <= 2, "there are two slots and four trials"
    events = [event for event in rows(folder, Event) if event.kind in (STOPPING, STOPPED)]
    assert [event.kind for event in events] == [STOPPING, STOPPED] * 2
    assert events[-2].detail.startswith("the test (")
    lost = lost_in(folder)
    assert not {charge.trial_id for charge in lost[num_lost:]} & {trial.trial_id for trial in stopper.running}

    # The same command goes on to the end.
    done = run()
    assert done.stopped_by is None
    assert len(rows(folder, Trial)) == 4
    assert lost_in(folder) == lost
    ended = [charge for charge in rows(folder, Charge) if charge.outcome is ChargeOutcome.finished]
    assert {charge.trial_id for charge in ended} == {trial.trial_id for trial in rows(folder, Trial)}
    assert len(ended) == 4
    assert slot_hours(done) == pytest.approx(charged(folder))


def test_the_wall_is_a_graceful_stop(ray_here: None, tmp_path: Path) -> None:
    result = Campaign.compose(*overrides_for(tmp_path / "late", "budget.candidates=0", "budget.wall=0.1s")).run()
    assert result.stopped_by == "budget.wall=0.1s is used up: start again to go on, with a larger one if need be"
    assert rows(tmp_path / "late", Trial) == []


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts campaigns of their own; none outlives its test."""
    begun: list[subprocess.Popen[str]] = []

    def begin(folder: Path, *overrides: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", *overrides_for(folder, *overrides)],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        begun.append(process)
        return process

    yield begin
    for process in begun:
        if process.poll() is None:
            process.kill()
            process.communicate()


def wait_for(process: subprocess.Popen[str], condition: Callable[[], bool], timeout_s: float = 240) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.2)


def under_way(folder: Path) -> Population:
    return Population(row for kind in (Trial, Charge, Event) for row in rows(folder, kind))


@pytest.mark.nightly
def test_what_a_killed_campaign_had_under_way_is_charged_once(ray_here: None, start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    process = start(folder, "budget.candidates=0")
    wait_for(process, lambda: bool(under_way(folder).unanswered()))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    died_at = time.time()
    left = under_way(folder).unanswered()
    assert left

    def resumed(num_candidates: int) -> Result:
        return Campaign.compose(*overrides_for(folder, f"budget.candidates={num_candidates}")).run()

    done = resumed(0)
    assert done.stopped_by is None
    lost = lost_in(folder)
    assert {charge.charge_id for charge in lost} == {begun.charge_id for begun in left}
    for charge in lost:
        assert charge.estimated
        assert charge.started_at <= charge.finished_at < died_at + 1
    assert slot_hours(done) == pytest.approx(charged(folder))
    assert slot_hours(resumed(1)) == pytest.approx(charged(folder))
    assert lost_in(folder) == lost


@pytest.mark.nightly
def test_the_stop_command_waits_for_what_is_nearly_done_unless_it_is_told_now(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "commanded"
    endless = ("scale.stages.explore.steps=200000", "scale.stages.explore.deadline_s=100000", "flow.grace_s=90000")
    process = start(folder, *endless)
    wait_for(process, lambda: bool(under_way(folder).unanswered()))
    RunFolder(folder).ask_to_stop(time.time())
    wait_for(process, lambda: any(event.kind == STOPPING for event in rows(folder, Event)))
    time.sleep(2.0)
    assert process.poll() is None, "it waits for trials that are within the grace"
    assert stop.main([str(folder), "--now"]) == 0
    assert "has stopped" in capsys.readouterr().out
    assert process.wait(timeout=200) == 0
    assert "Traceback" not in process.communicate()[1]
    assert rows(folder, Event)[-1].detail == "stop request"
    assert under_way(folder).unanswered() == ()
    assert lost_in(folder)
