"""Measured within a campaign, and afterwards by the command."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from cognition.reader import Reader
from cognition.records import Candidate, Charge, Efficiency, Trial
from cognition.store import Store
from orchestrator import efficiency
from orchestrator.config import compose, settings_from
from orchestrator.efficiency import chosen, fronts, read
from orchestrator.errors import UsageError
from orchestrator.lease import lease_of
from orchestrator.run_folder import RunFolder
from tests.orchestrator import small

QUICK = ("efficiency.measure=true", "efficiency.lengths=[16,40]", "efficiency.repeats=2", "efficiency.block_s=0.001")


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "measured"
    result = small.run(folder, *QUICK)
    assert result.stopped_by is None
    return folder


def test_who_was_trained_at_the_last_stage_is_measured_there_and_charged(campaign: Path) -> None:
    reader = Reader(campaign)
    verified = {trial.candidate_id for trial in reader.rows(Trial) if trial.stage == "verify" and trial.succeeded}
    rows = reader.rows(Efficiency)
    assert {(row.candidate_id, row.length) for row in rows} == {
        (one, length) for one in verified for length in (16, 40)
    }
    assert all(row.stage == "verify" and row.decode_s is not None for row in rows)
    charges = [charge for charge in reader.rows(Charge) if ".efficiency-" in charge.trial_id]
    assert sorted(charge.candidate_id for charge in charges) == sorted(verified)
    assert all(charge.slot_s > 0 and charge.pool == "verify" for charge in charges)
    assert not any(".efficiency-" in trial.trial_id for trial in reader.rows(Trial))


def test_a_finished_campaign_is_not_measured_again(campaign: Path) -> None:
    before = Reader(campaign).rows(Efficiency)
    assert small.run(campaign, *QUICK).resumed_finished
    assert Reader(campaign).rows(Efficiency) == before


def test_the_command_appends_rows_and_marks_the_fronts(campaign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    num = len(Reader(campaign).rows(Efficiency))
    options = ["0", "--stage", "explore", "--lengths", "16", "--repeats", "2"]
    assert efficiency.main([str(campaign), *options]) == 0
    shown = capsys.readouterr().out
    assert "stage explore, 16 tokens" in shown
    assert "0 delta_net" in shown
    assert " *" in shown
    assert "not stored" not in shown
    rows = Reader(campaign).rows(Efficiency)
    assert len(rows) == num + 1
    assert rows[-1].stage == "explore"


def test_where_somebody_drives_the_campaign_rows_are_shown_and_not_stored(
    campaign: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Reader(campaign).rows(Efficiency)
    lease = lease_of(RunFolder.existing(campaign).folder)
    lease.take(time.time())
    try:
        assert efficiency.main([str(campaign), "0", "--stage", "explore", "--lengths", "16", "--repeats", "2"]) == 0
    finally:
        lease.release()
    shown = capsys.readouterr().out
    assert "not stored" in shown
    assert "0 delta_net" in shown
    assert Reader(campaign).rows(Efficiency) == before


def test_candidates_are_found_by_number_name_and_id_and_nobody_else_is(campaign: Path) -> None:
    found = read(RunFolder.existing(campaign), None)
    baseline = next(one for one in Reader(campaign).rows(Candidate) if one.name == "linear_attention")
    for name in (str(baseline.number), "linear_attention", baseline.candidate_id[:8]):
        assert chosen(found, [name]) == [baseline]
    with pytest.raises(UsageError, match="candidate 'rwkv9' is nobody"):
        chosen(found, ["rwkv9"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--stage", "explored"], "--stage is 'explored': the campaign has explore, verify"),
        (["--repeats", "1"], "efficiency.repeats is 1"),
        (["--show", "--stage", "explore"], "leave --show out"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path, campaign: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    if "--show" in arguments:  # of a campaign whose first stage nobody has measured
        folder = tmp_path / "bare"
        folder.mkdir()
        (folder / "config.yaml").write_text((campaign / "config.yaml").read_text())
        Store.open(folder).close()
        campaign = folder
    assert efficiency.main([str(campaign), *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1


def test_each_front_is_of_the_loss_against_one_cost() -> None:
    def row(name: str, train_tokens_s: float, state_bytes: int | None) -> Efficiency:
        return Efficiency(
            candidate_id=name,
            stage="verify",
            length=16,
            device="cpu",
            measured_at=0.0,
            machine="",
            precision="float32",
            batch_size=1,
            reference="delta_net",
            num_repeats=2,
            train_tokens_s=train_tokens_s,
            state_bytes=state_bytes,
        )

    rows = [row("good", 10.0, 100), row("fast", 30.0, None), row("poor", 20.0, 50)]
    found = fronts(rows, {"good": 1.0, "fast": 2.0, "poor": 3.0})
    assert found["train tok/s"] == ["fast", "good"]
    assert found["state bytes"] == ["poor", "good"]
    assert found["decode ms"] == []


def test_campaigns_on_a_cpu_measure_only_when_told_to() -> None:
    settings = settings_from(compose(["+campaign=linear_attn", "scale=tiny", "llm=none"]), environment={})
    device = settings.pools[settings.stages["verify"].pool].device
    assert not settings.efficiency.wanted(device)
    on_gpus = settings_from(compose(["+campaign=linear_attn", "scale=tiny", "pools=gpu", "llm=none"]), environment={})
    assert on_gpus.efficiency.wanted(on_gpus.pools[on_gpus.stages["verify"].pool].device)
