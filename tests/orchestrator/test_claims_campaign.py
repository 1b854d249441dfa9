"""Further seeds in a whole campaign at the tiny scale, beside a baseline that is easily beaten, on its rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from cognition.reader import Reader
from cognition.records import Charge, Claim, Event, NoiseLevel, Record, Trial
from orchestrator import status
from orchestrator.campaign import Campaign
from orchestrator.result import Result
from orchestrator.trial_engine import RunningTrial
from orchestrator.verified import SEEDED
from tests.orchestrator.small import ledger, run

SEEDS, MORE = (101, 102), (103, 104, 105, 106)
# delta_net learns slowly here: what the grammar writes is better by several times the noise.
EASY = ("campaign.founders=[delta_net]", f"stages.verify.more_seeds={len(MORE)}")


@pytest.fixture(scope="module")
def finished(ray_here: None, tmp_path_factory: pytest.TempPathFactory) -> Result:
    return run(tmp_path_factory.mktemp("claims") / "whole", *EASY)


def given(folder: Path) -> list[tuple[str, int]]:
    """Candidates and seeds, in the order in which they were written down."""
    return [(e.subject, int(e.detail.split()[1])) for e in Reader(folder).rows(Event) if e.kind == SEEDED]


def test_seeds_are_written_down_trained_on_both_sides_and_charged(finished: Result) -> None:
    assert finished.stopped_by is None
    reader = Reader(finished.folder)
    trials = {(t.candidate_id, t.seed) for t in reader.rows(Trial) if t.stage == "verify" and t.seed in MORE}
    seeds = given(finished.folder)
    assert trials == set(seeds)
    assert Counter(seeds).most_common(1)[0][1] == 1
    rivals = {claim.baseline_id for claim in finished.claims}
    assert {seed for _, seed in seeds} == {seed for one, seed in seeds if one in rivals}
    assert min(MORE) in {seed for _, seed in seeds}
    charged = {(c.candidate_id, c.seed) for c in reader.rows(Charge) if c.stage == "verify"}
    assert charged >= trials


def test_a_claim_is_revised_with_every_seed_and_the_last_one_holds(finished: Result) -> None:
    rows = Reader(finished.folder).rows(Claim)
    (last,) = finished.claims
    revisions = sorted(
        (row.revision, row.num_seeds) for row in rows if row.candidate_id == last.candidate_id and row.stage == "verify"
    )
    assert [revision for revision, _ in revisions] == list(range(1, len(revisions) + 1))
    nums = [num for _, num in revisions]
    assert nums == sorted(nums)
    assert (nums[0], nums[-1]) == (len(SEEDS), last.num_seeds)
    assert last.num_seeds == len(SEEDS) + len({seed for _, seed in given(finished.folder)})
    (shown,) = Reader(finished.folder).query("SELECT state, num_seeds, e_value FROM verified").rows
    assert shown == (last.state.value, last.num_seeds, last.e_value)
    ((promised, difference),) = (
        Reader(finished.folder).query("SELECT mean_promised, mean_difference FROM winners_curse").rows
    )
    assert (promised, difference) == (pytest.approx(last.promised), pytest.approx(last.difference))


def test_noise_grows_with_the_results_and_is_told(finished: Result, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row for row in Reader(finished.folder).rows(NoiseLevel) if row.metric == "loss" and row.stage == "verify"]
    assert [row.num_results for row in rows] == sorted({row.num_results for row in rows})
    assert rows
    assert rows[-1].sigma > 0
    assert status.main([str(finished.folder)]) == 0
    printed = capsys.readouterr().out
    (last,) = finished.claims
    assert f"noise  verify loss: sigma {rows[-1].sigma:.4f}" in printed
    assert f"claim  verify: {last.state.value}" in printed


class Cut(Exception):
    """Stands for a kill."""


class CutOff:
    """Lets a campaign break off between the decision that a seed is given and the trial on it."""

    def started(self, campaign: Campaign) -> None:
        pass

    def tick(self, campaign: Campaign, running: Sequence[RunningTrial]) -> None:
        pass

    def ended(self, campaign: Campaign, result: Result) -> None:
        pass

    def failed(self) -> None:
        pass

    def recorded(self, campaign: Campaign, record: Record) -> None:
        if isinstance(record, Event) and record.kind == SEEDED and record.detail.endswith(str(min(MORE))):
            raise Cut


@pytest.mark.nightly
def test_a_seed_that_was_decided_on_before_a_cut_is_trained_after_it_and_nothing_else_changes(
    finished: Result, tmp_path: Path
) -> None:
    folder = tmp_path / "cut"
    with pytest.raises(ExceptionGroup):
        run(folder, *EASY, views=(CutOff(),))
    assert given(folder)
    assert {trial.seed for trial in Reader(folder).rows(Trial) if trial.stage == "verify"} <= set(SEEDS)
    assert run(folder, *EASY).stopped_by is None
    assert Counter(given(folder)) == Counter(given(finished.folder))
    assert ledger(folder) == ledger(finished.folder)


@pytest.mark.nightly
def test_a_finished_campaign_goes_on_where_more_seeds_are_allowed(ray_here: None, tmp_path: Path) -> None:
    folder, without = tmp_path / "more", ("campaign.founders=[delta_net]",)
    first = run(folder, *without)
    assert {claim.num_seeds for claim in first.claims} == {len(SEEDS)}
    assert run(folder, *without).resumed_finished
    then = run(folder, *EASY)
    assert not then.resumed_finished
    assert max(claim.num_seeds for claim in then.claims) > len(SEEDS)
    assert run(folder, *EASY).resumed_finished
