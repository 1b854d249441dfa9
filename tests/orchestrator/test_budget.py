"""Limits, what attempts to train are charged, and where spending ends."""

from __future__ import annotations

import dataclasses
import json
import os
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agents.ledger import BudgetLedger, Cost, Limits
from agents.llm.settings import LlmSettings
from agents.protocols import Trained
from agents.purse import PurseState
from cognition.records import Candidate, Charge, ChargeOutcome, FailureKind, TrialStatus, trial_id_of
from models.checkpoints import CheckpointSettings
from orchestrator.actors import LedgerActor
from orchestrator.board import Order
from orchestrator.budget import BudgetSettings, duration_s
from orchestrator.burn import Burn, Plan, burn_of
from orchestrator.charges import Share, Starts, charge_of, last_sign, lost
from orchestrator.config import Settings, compose, settings_from
from orchestrator.engine_actor import EngineRunner, generation_name
from orchestrator.errors import BudgetReached, UsageError
from orchestrator.estimate import StageWork
from orchestrator.pools import Pool
from orchestrator.population import STARTED, Population
from orchestrator.rows import event
from tests.cognition.factories import make_candidate, make_charge, make_event, make_trial

CHILD = make_candidate(3)
GPU = Share(pool="big", num_cpus=4.0, num_gpus=2.0)


@pytest.fixture(scope="module")
def settings() -> Settings:
    return settings_from(compose(["+campaign=linear_attn", "scale=tiny"]))


# ---- limits ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wall", "seconds"), [("2h", 7200), ("90m", 5400), ("45s", 45), ("1.5d", 129_600), (" 2 h ", 7200), (2, 7200)]
)
def test_the_wall_is_a_text_with_its_unit_or_hours(wall: float | str, seconds: float) -> None:
    assert duration_s("budget.wall", wall) == seconds
    assert BudgetSettings(wall=wall).wall_s == seconds


@pytest.mark.parametrize("wall", ["2", "h", "2 weeks", "-1h", "0s", 0, -1.0, float("nan"), float("inf"), "1h30m", ""])
def test_another_wall_is_refused_with_the_remedy(wall: float | str) -> None:
    with pytest.raises(ValueError, match=r"budget\.wall is .*: use a time above zero as 45s, 90m, 2h or 1\.5d"):
        BudgetSettings(wall=wall)


@pytest.mark.parametrize(("given", "seconds"), [("45s", 45.0), ("2", 7200.0), ("0.5", 1800.0), ("null", None)])
def test_the_command_line_takes_every_way_to_write_the_wall(given: str, seconds: float | None) -> None:
    assert settings_from(compose(["+campaign=linear_attn", f"budget.wall={given}"])).budget.wall_s == seconds


@pytest.mark.parametrize("given", ["budget.wall=soon", "budget.wall=true", "budget.gpu_hours=0", "budget.gpu_hours=x"])
def test_a_budget_that_is_none_is_one_line(given: str) -> None:
    with pytest.raises(UsageError, match=given.split("=")[0].replace(".", r"\.")):
        settings_from(compose(["+campaign=linear_attn", given]))


def test_every_limit_is_echoed() -> None:
    limits = BudgetSettings(candidates=5, slot_hours=1.5, gpu_hours=8, wall="90m", usd=2, tokens=10_000)
    told = "5 candidates, 1.5 slot-hours, 8 GPU-hours, 90m on the clock, 2.00 USD, 10,000 tokens"
    assert limits.in_words == told
    assert BudgetSettings(candidates=5, wall=1.5).in_words == "5 candidates, 1.5h on the clock"
    assert limits.limits == Limits(usd=2, slot_hours=1.5, gpu_hours=8, tokens=10_000)


# ---- charges --------------------------------------------------------------------------------------------------


def test_an_attempt_is_charged_for_its_slot_and_its_gpus() -> None:
    trial = dataclasses.replace(make_trial(CHILD, slot_s=36.0), started_at=100.0, finished_at=136.0, worker="a:1")
    charge = charge_of(CHILD, trial, GPU)
    assert (charge.slot_s, charge.gpu_s, charge.outcome) == (36.0, 72.0, ChargeOutcome.finished)
    assert (charge.number, charge.arm, charge.pool, charge.worker) == (3, "grammar", "big", "a:1")
    assert not charge.estimated


def test_what_a_worker_took_that_died_is_estimated() -> None:
    died = dataclasses.replace(
        make_trial(CHILD, loss=None, slot_s=0.0), failure=FailureKind.worker_died, started_at=100.0, finished_at=107.0
    )
    charge = charge_of(CHILD, died, GPU)
    assert (charge.slot_s, charge.gpu_s, charge.outcome, charge.estimated) == (7.0, 14.0, ChargeOutcome.lost, True)


def running(started_at: float, candidate: Candidate = CHILD) -> Any:
    return SimpleNamespace(
        trial_id=f"{candidate.candidate_id}-explore-s0", stage="explore", started_at=started_at, elapsed_s=0.0
    )


def test_a_start_without_an_answer_is_lost_once_up_to_the_last_sign_of_life(settings: Settings) -> None:
    population = Population([CHILD])
    (start,) = Starts(settings, population).new([running(100.0)], now=100.5)
    assert (start.kind, json.loads(start.detail)["estimated"]) == (STARTED, True)
    population.add(start)
    population.add(dataclasses.replace(make_event(1), created_at=130.0))
    assert last_sign(population, beat=125.0) == 130.0
    assert last_sign(population, beat=140.0) == 140.0
    (unanswered,) = population.unanswered()
    charge = lost(unanswered, until=140.0)
    assert (charge.slot_s, charge.outcome, charge.estimated) == (40.0, ChargeOutcome.lost, True)
    population.add(charge)
    assert population.unanswered() == ()
    again = Population([charge, CHILD, start])  # the order in which tables are read
    assert again.unanswered() == ()


def test_a_start_is_written_once_and_anew_when_the_trial_starts_anew(settings: Settings) -> None:
    population = Population([CHILD])
    starts = Starts(settings, population)
    population.add(starts.new([running(100.0)], now=101.0)[0])
    assert starts.new([running(100.0)], now=109.0) == []
    assert starts.new([], now=110.0) == []
    (start,) = population.unanswered()
    population.add(lost(start, until=109.0))
    assert population.unanswered() == ()
    assert len(starts.new([running(120.0)], now=121.0)) == 1


def test_what_ended_is_never_lost(settings: Settings) -> None:
    population = Population([CHILD])
    starts = Starts(settings, population)
    population.add(starts.new([running(100.0)], now=100.2)[0])
    population.add(make_charge(CHILD, slot_s=5.0, started_at=99.9, outcome=ChargeOutcome.failed))
    assert population.unanswered() == ()
    population.add(make_trial(CHILD))
    assert starts.new([running(105.0)], now=105.2) == [], "it has its row: what the engine said is stale"


# ---- the runner, with a real ledger ---------------------------------------------------------------------------


class ScriptedEngine:
    """Gives each attempt at a trial what the script says: seconds of the slot, and whether the worker died."""

    def __init__(self, script: Sequence[tuple[float, bool]]) -> None:
        self._script, self._now = list(script), 1000.0

    async def run(self, order: Order) -> Trained:
        job = order.job
        slot_s, died = self._script.pop(0)
        started, self._now = self._now, self._now + slot_s
        trial = make_trial(
            dataclasses.replace(CHILD, candidate_id=job.candidate_id),
            seed=job.seed,
            slot_s=slot_s,
            stage=job.stage.name,
        )
        trial = dataclasses.replace(trial, started_at=started, finished_at=self._now, worker="a:1")
        if died:
            failure = {"status": TrialStatus.failed, "failure": FailureKind.worker_died, "loss": None, "slot_s": 0.0}
            trial = dataclasses.replace(trial, **failure)
        return Trained(trial=trial)


class DyingEngine:
    """Its process ends with the first order."""

    async def run(self, order: Order) -> Trained:
        os._exit(1)


class OpenLedger(LedgerActor):
    """Shows what it has booked."""

    async def total(self) -> Cost:
        return self.ledger.total()


@pytest.fixture
def ended(ray_here: None) -> Iterator[list[Any]]:
    import ray

    actors: list[Any] = []
    yield actors
    for actor in actors:
        ray.kill(actor)


def runner_on(
    settings: Settings, limits: Limits, script: Sequence[tuple[float, bool]], actors: list[Any], num_dying: int = 0
) -> tuple[Any, Any]:
    """A runner and its ledger; so many engines die before the one that has the script."""
    import ray

    remote: Any = ray.remote
    llm = LlmSettings(name="none")
    ledger = remote(num_cpus=0)(OpenLedger).remote(limits, llm, {}, 0, PurseState())
    name = f"scripted-{uuid.uuid4().hex}"
    kinds: list[tuple[Any, tuple[Any, ...]]] = [*[(DyingEngine, ())] * num_dying, (ScriptedEngine, (script,))]
    actors.append(ledger)
    for generation, (kind, arguments) in enumerate(kinds):
        actors.append(remote(num_cpus=0)(kind).options(name=generation_name(name, generation)).remote(*arguments))
    stages = {stage: dataclasses.replace(rule, pool="big") for stage, rule in settings.stages.items()}
    settings = dataclasses.replace(settings, pools={"big": Pool(gpus=2)}, stages=stages)
    return EngineRunner(engine=name, ledger=ledger, settings=settings, corpus=""), ledger


async def test_every_attempt_is_a_row_and_the_rows_are_what_the_ledger_settled(
    settings: Settings, ended: list[Any]
) -> None:
    script = [(3.0, True), (5.0, True), (7.0, False), (11.0, False)]
    runner, ledger = runner_on(settings, Limits(), script, ended)
    one = (await runner.run(CHILD, "explore", 0)).trial
    other = (await runner.run(CHILD, "verify", 101)).trial
    assert one.succeeded
    assert (one.pool, one.num_gpus, other.stage) == ("big", 2.0, "verify")
    charges: tuple[Charge, ...] = await ledger.rows.remote(wait=False)
    assert [charge.outcome for charge in charges] == [
        *(ChargeOutcome.lost, ChargeOutcome.lost, ChargeOutcome.finished, ChargeOutcome.finished)
    ]
    assert [charge.slot_s for charge in charges] == [3.0, 5.0, 7.0, 11.0]
    population = Population(charges)
    again = BudgetLedger(Limits())
    again.restore(population.spent())
    total: Cost = await ledger.total.remote()
    assert total.slot_hours == pytest.approx(26 / 3600)
    assert total.gpu_hours == pytest.approx(52 / 3600)
    assert again.total() == total, "nothing is held, and a resumed ledger knows the same"


async def test_an_attempt_that_does_not_fit_the_gpu_hours_is_not_started(settings: Settings, ended: list[Any]) -> None:
    worst = settings.scale.stage("explore").deadline_s * GPU.num_gpus / 3600
    script = [(3600.0 * worst, True), (1.0, False)]
    runner, ledger = runner_on(settings, Limits(gpu_hours=worst * 1.5), script, ended)
    with pytest.raises(BudgetReached, match="budget reached, gpu_hours"):
        await runner.run(CHILD, "explore", 0)
    assert len(await ledger.rows.remote(wait=False)) == 1


async def test_of_a_trial_whose_workers_died_once_too_often_nothing_is_kept_to_go_on_from(
    settings: Settings, ended: list[Any], tmp_path: Path
) -> None:
    saved = dataclasses.replace(settings, checkpoints=CheckpointSettings(uri=str(tmp_path), every_s=0.001))
    runner, _ = runner_on(saved, Limits(), [(3.0, True)] * 4, ended)
    kept = tmp_path / f"{trial_id_of(CHILD.candidate_id, 'explore', 0)}.npz"
    kept.write_bytes(b"what the last attempt had saved")
    assert (await runner.run(CHILD, "explore", 0)).trial.failure is FailureKind.worker_died
    assert not kept.exists()


async def test_after_a_lost_engine_room_is_asked_for_beside_what_the_lost_attempt_took(
    settings: Settings, ended: list[Any]
) -> None:
    worst_s = settings.scale.stage("explore").deadline_s
    lost_one = make_charge(CHILD, slot_s=0.8 * worst_s, outcome=ChargeOutcome.lost)
    for limit, fits in ((1.9, True), (1.7, False)):
        limits = Limits(slot_hours=limit * worst_s / 3600)
        runner, ledger = runner_on(settings, limits, [(36.0, False)], ended, num_dying=1)
        await ledger.book.remote(lost_one)  # as the watch does before there is another engine
        if fits:
            assert (await runner.run(CHILD, "explore", 0)).trial.succeeded
            total: Cost = await ledger.total.remote()
            assert total.slot_hours == pytest.approx((0.8 * worst_s + 36) / 3600), "nothing is held any more"
        else:
            with pytest.raises(BudgetReached, match="budget reached, slot_hours"):
                await runner.run(CHILD, "explore", 0)


async def test_a_restarted_engineer_holds_a_trial_once(settings: Settings, ended: list[Any]) -> None:
    worst = Cost(slot_hours=1.0)
    _, ledger = runner_on(settings, Limits(slot_hours=1.0), [], ended)
    first = await ledger.reserve.remote("explore/grammar", worst, "a")
    assert await ledger.reserve.remote("explore/grammar", worst, "a") == first
    await ledger.settle.remote(first, dataclasses.replace(make_charge(CHILD, slot_s=0.0), trial_id="a"))
    assert await ledger.reserve.remote("explore/grammar", worst, "a") != first


async def test_an_attempt_that_is_settled_twice_is_booked_once(settings: Settings, ended: list[Any]) -> None:
    """Whoever settled it was killed before it heard so, and asks again."""
    _, ledger = runner_on(settings, Limits(), [], ended)
    charge = make_charge(CHILD, slot_s=36.0)
    for _ in range(2):
        held = await ledger.reserve.remote("explore/grammar", Cost(slot_hours=1.0), charge.trial_id)
        await ledger.settle.remote(held, charge)
    assert (await ledger.total.remote()).slot_hours == pytest.approx(0.01)
    assert await ledger.rows.remote(wait=False) == (charge,)


# ---- burn -----------------------------------------------------------------------------------------------------


def plan(num_gpus: float = 0.0, **limits: float) -> Plan:
    return Plan(works=(StageWork(stage="explore", num_trials=4, expected_s=100.0, num_gpus=num_gpus),), **limits)


def test_spending_is_projected_from_what_trials_took() -> None:
    rows = [make_candidate(1), make_trial(make_candidate(1), slot_s=36.0), make_charge(make_candidate(1), slot_s=36.0)]
    assert str(burn_of(plan(), Population(), since=0.0, now=0.0)) == ("0 slot-hours (0/h), about 0.111 at the end"), (
        "as the scale states it"
    )
    burn = burn_of(plan(slot_hours=1.0), Population(rows), since=0.0, now=72.0)
    assert burn == Burn(
        unit="slot-hours",
        spent=pytest.approx(0.01),
        per_hour=pytest.approx(0.5),
        at_end=pytest.approx(0.04),
        limit=1.0,
    )
    assert str(burn) == "0.01 slot-hours (0.5/h), about 0.04 at the end, of 1"


def test_what_runs_counts_and_old_charges_do_not_make_the_rate(settings: Settings) -> None:
    population = Population([CHILD, make_charge(make_candidate(1), slot_s=3600.0)])
    (start,) = Starts(settings, population).new([running(9000.0)], now=9000.0)
    population.add(start)
    burn = burn_of(plan(), population, since=0.0, now=9300.0)
    assert burn.spent == pytest.approx((3600 + 300) / 3600)
    assert burn.per_hour == pytest.approx(0.5), "five of the last ten minutes"


def test_where_trials_take_gpus_their_hours_are_shown() -> None:
    population = Population([make_charge(CHILD, slot_s=36.0, num_gpus=2.0)])
    burn = burn_of(plan(num_gpus=2.0, gpu_hours=3.0), population, since=0.0, now=36.0)
    assert (burn.unit, burn.spent, burn.per_hour, burn.limit) == ("GPU-hours", pytest.approx(0.02), 2.0, 3.0)
    assert burn.at_end == pytest.approx(0.02 + 4 * 100 * 2 / 3600)


def test_a_plan_comes_back_from_its_event() -> None:
    written = plan(num_gpus=2.0, gpu_hours=3.0)
    assert Plan.written([event("expected", detail="{}"), written.as_event()]) == written
    assert Plan.written([event("intent")]) is None
