"""A ladder of three stages, climbed by a whole campaign at the tiny scale: asserted on its rows."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import pytest

from agents.brief import Brief, Member
from agents.grammar.proposer import GrammarProposer
from cognition.reader import Reader
from cognition.records import Candidate, Claim, Event, RankCorrelation, Record, Trial, Verdict
from orchestrator import status
from orchestrator.campaign import Campaign
from orchestrator.founders import BASELINE_ARM
from orchestrator.population import CLIMBED
from orchestrator.promotion import best_baselines
from orchestrator.result import Result, View
from orchestrator.trial_engine import RunningTrial
from tests.orchestrator.small import PATIENT

FOUNDERS, NUM_CANDIDATES, PLACES = ("delta_net", "linear_attention"), 5, {"sift": 3, "verify": 1}
SEEDS = {"explore": (0,), "sift": (11, 12), "verify": (101, 102)}
LAST = len(FOUNDERS) + NUM_CANDIDATES - 1


THREE_STAGES = (
    "scale=tiny_ladder",
    f"+stages.sift.best={PLACES['sift']}",
    "+stages.sift.after=0.5",
    f"stages.verify.best={PLACES['verify']}",
    "scale.stages.sift.deadline_s=600",
)
ONE_STAGE = ("scale=tiny", "~scale.stages.verify")
SMALL = ("campaign.founders=[delta_net]", "budget.candidates=1")
WHOLE = (f"campaign.founders=[{','.join(FOUNDERS)}]", f"budget.candidates={NUM_CANDIDATES}")
WAITING = ("arms.weights.grammar=0", "arms.weights.random=0", "+arms.weights.waiting=1")


class WaitingProposer(GrammarProposer):
    """Has the last idea once the next stage has trained somebody beside the baseline: later than it has to be."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    async def propose(self, brief: Brief) -> Candidate:
        until = time.monotonic() + 300
        while brief.number == LAST and len(at(self._folder, "sift")) < 2 and time.monotonic() < until:
            await asyncio.sleep(0.1)
        return await super().propose(brief)


def campaign(folder: Path, *overrides: str, views: Sequence[View] = (), waiting: bool = False) -> Campaign:
    return Campaign.compose(
        *("+campaign=linear_attn", "data.max_bytes=1500000", "tracking=none", "cluster.slots=2", *PATIENT),
        *(f"run.root={folder.parent}", f"run.name={folder.name}", *overrides),
        views=views,
        proposers={"waiting": WaitingProposer(folder)} if waiting else None,
    )


@pytest.fixture(scope="module")
def finished(ray_here: None, tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder = tmp_path_factory.mktemp("ladder") / "three"
    return campaign(folder, *THREE_STAGES, *WHOLE, *WAITING, waiting=True).run()


def at(folder: Path, stage: str) -> dict[str, list[Trial]]:
    """Trials at a stage by candidate."""
    found: dict[str, list[Trial]] = {}
    for trial in Reader(folder).rows(Trial):
        if trial.stage == stage:
            found.setdefault(trial.candidate_id, []).append(trial)
    return found


def loss(trials: list[Trial], stage: str) -> float | None:
    """The mean over the stage's own seeds."""
    losses = [t.loss for t in trials if t.seed in SEEDS[stage] and t.succeeded and t.loss is not None]
    return fmean(losses) if len(losses) == len(SEEDS[stage]) else None


def rival(folder: Path) -> str:
    verdicts = {verdict.candidate_id: verdict for verdict in Reader(folder).rows(Verdict)}
    candidates = Reader(folder).rows(Candidate)
    members = [Member(candidate=one, verdict=verdicts.get(one.candidate_id)) for one in candidates]
    return best_baselines(members)[0].candidate.candidate_id


def contestants(folder: Path) -> dict[str, float]:
    """Fitness of those that may climb and have one."""
    arms = {one.candidate_id: one.arm for one in Reader(folder).rows(Candidate)}
    found = {verdict.candidate_id: verdict.fitness for verdict in Reader(folder).rows(Verdict)}
    return {one: value for one, value in found.items() if value is not None and arms[one] != BASELINE_ARM}


def test_the_best_of_the_first_stage_climb_and_from_there_the_lowest_loss(finished: Result) -> None:
    assert finished.stopped_by is None
    fitness, sifted = contestants(finished.folder), at(finished.folder, "sift")
    best = sorted(fitness, key=lambda one: -fitness[one])[: PLACES["sift"]]
    assert set(best) <= set(sifted)
    losses = {one: loss(trials, "sift") for one, trials in sifted.items() if one in fitness}
    ranked = sorted((value, one) for one, value in losses.items() if value is not None)
    assert ranked[0][1] in at(finished.folder, "verify")


def test_whoever_climbed_was_named_before_and_is_trained_on_every_seed_of_the_stage(finished: Result) -> None:
    named = {(event.detail, event.subject) for event in Reader(finished.folder).rows(Event) if event.kind == CLIMBED}
    trained = {(stage, one) for stage in PLACES for one in at(finished.folder, stage)}
    assert named == trained
    for stage in PLACES:
        for trials in at(finished.folder, stage).values():
            assert sorted(trial.seed for trial in trials) == list(SEEDS[stage])
    assert {stage: rival(finished.folder) in at(finished.folder, stage) for stage in PLACES} == dict.fromkeys(
        PLACES, True
    )


def test_the_stages_overlap_in_time(finished: Result) -> None:
    """Somebody climbs and is trained there although the last candidate has not even been proposed."""
    reader = Reader(finished.folder)
    last = {one.candidate_id for one in reader.rows(Candidate) if one.number == LAST}
    explored = [trial for one, trials in at(finished.folder, "explore").items() if one in last for trial in trials]
    sifted = [trial for trials in at(finished.folder, "sift").values() for trial in trials]
    began = min(trial.started_at for trial in explored)
    assert min(trial.finished_at for trial in sifted) < began
    assert min(event.created_at for event in reader.rows(Event) if event.kind == CLIMBED) < began


def test_every_stage_above_the_first_claims_against_the_best_baseline(finished: Result) -> None:
    claims = {(claim.stage, claim.candidate_id) for claim in finished.claims}
    fitness = contestants(finished.folder)
    assert claims == {(stage, one) for stage in PLACES for one in at(finished.folder, stage) if one in fitness}
    assert {claim.baseline_id for claim in finished.claims} == {rival(finished.folder)}
    assert {(claim.stage, claim.split, claim.num_seeds) for claim in finished.claims} == {
        ("sift", "validation", 2),
        ("verify", "heldout", 2),
    }


def test_ranks_are_correlated_as_pairs_come_in_and_shown(finished: Result, capsys: pytest.CaptureFixture[str]) -> None:
    rows = Reader(finished.folder).rows(RankCorrelation)
    nums = [row.num_pairs for row in rows if (row.lower, row.upper) == ("explore", "sift")]
    assert nums == sorted(set(nums))
    assert max(nums) == len(at(finished.folder, "sift")) >= PLACES["sift"] + 1
    (shown,) = (one for one in finished.correlations if one.upper == "sift")
    assert shown.num_pairs == max(nums)
    assert shown.low is not None
    assert shown.high is not None
    assert shown.low <= shown.rho <= shown.high
    assert status.main([str(finished.folder)]) == 0
    assert f"ranks  explore to sift: rho {shown.rho:+.2f}" in capsys.readouterr().out


class Cut(Exception):
    """Stands for a kill."""


class CutOff:
    """Lets a campaign break off between the decision that somebody climbs and the first trial there."""

    def started(self, campaign: Campaign) -> None:
        pass

    def tick(self, campaign: Campaign, running: Sequence[RunningTrial]) -> None:
        pass

    def ended(self, campaign: Campaign, result: Result) -> None:
        pass

    def failed(self) -> None:
        pass

    def recorded(self, campaign: Campaign, record: Record) -> None:
        if isinstance(record, Event) and record.kind == CLIMBED:
            raise Cut


@pytest.mark.nightly
def test_who_climbed_before_a_cut_is_trained_after_it_and_named_once(ray_here: None, tmp_path: Path) -> None:
    folder = tmp_path / "cut"
    with pytest.raises(ExceptionGroup):
        campaign(folder, *THREE_STAGES, *SMALL, views=(CutOff(),)).run()
    assert at(folder, "sift") == {}
    result = campaign(folder, *THREE_STAGES, *SMALL).run()
    assert result.stopped_by is None
    named = Counter((event.detail, event.subject) for event in Reader(folder).rows(Event) if event.kind == CLIMBED)
    assert set(named.values()) == {1}
    assert named.keys() == {(stage, one) for stage in PLACES for one in at(folder, stage)}
    assert {claim.stage for claim in Reader(folder).rows(Claim)} == {"sift", "verify"}


@pytest.mark.nightly
def test_one_stage_is_a_campaign_without_claims(ray_here: None, tmp_path: Path) -> None:
    result = campaign(tmp_path / "flat", *ONE_STAGE, *SMALL).run()
    assert result.stopped_by is None
    assert result.claims == ()
    assert {trial.stage for trial in Reader(result.folder).rows(Trial)} == {"explore"}
    assert campaign(tmp_path / "flat", *ONE_STAGE, *SMALL).run().resumed_finished
