"""A design taken apart on a real Ray: trained, compared, simplified, on record."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cognition.reader import Reader
from cognition.records import Ablation, Candidate, Claim, PartFinding, Trial
from orchestrator.attribution.__main__ import main
from orchestrator.attribution.question import question_of
from orchestrator.attribution.trainings import settings_for
from orchestrator.errors import UsageError
from orchestrator.run_folder import RunFolder
from tests.orchestrator.small import run

# Two parts: a gate that can go, and the memory, without which the past cannot be seen by design (the gate refuses).
PARTED = """
import torch
from torch import nn
from kernels.dispatch import linear_attn

PARTS = ("gate", "projection")


class TokenMixer(nn.Module):
    def __init__(self, hidden_size, num_heads, layer_idx=0, without=(), **kwargs):
        super().__init__()
        self.heads = num_heads
        self.qkv = nn.Linear(hidden_size, 3 * hidden_size)
        self.gate = None if "gate" in without else nn.Linear(hidden_size, hidden_size)
        self.out = nn.Linear(hidden_size, hidden_size if "projection" not in without else 1)

    def forward(self, x):
        q, k, v = self.qkv(x).view(*x.shape[:2], 3, self.heads, -1).unbind(2)
        o = linear_attn(q.sigmoid(), k.sigmoid(), v).flatten(2) / x.shape[-1]
        return self.out(o if self.gate is None else o * self.gate(x).sigmoid())
"""


@pytest.fixture
def finished(undisturbed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(undisturbed, tmp_path / "it"))


@pytest.mark.nightly
def test_parts_are_taken_away_and_what_is_found_is_in_the_lineage(
    ray_here: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finished, source = tmp_path / "it", tmp_path / "parted.py"
    source.write_text(PARTED)
    assert run(finished, f"campaign.founders=[delta_net,'{source}']", "budget.candidates=0").stopped_by is None
    assert main([str(finished), "1", "--tolerance", "5", "cluster.slots=2"]) == 0
    told = capsys.readouterr().out
    rows = {row.parts: row for row in Reader(finished).rows(Ablation)}
    assert set(rows) == {("gate",), ("projection",)}
    gate, projection = rows["gate",], rows["projection",]
    assert (gate.stage, gate.split, gate.num_seeds, gate.kind) == ("verify", "heldout", 2, "removed")
    assert gate.low is not None
    assert gate.effect is not None
    assert gate.low < gate.effect < (gate.high or 0) < 5
    assert (gate.finding, gate.simplified) == (PartFinding.not_needed, True)  # five nats are tolerated here
    assert (projection.finding, projection.num_seeds) == (PartFinding.failed, 0)
    assert projection.detail.startswith("refused: ")
    assert "candidate 1 without gate takes the title" in told
    trained = Reader(gate.run)
    (variant,) = [one for one in trained.rows(Candidate) if one.candidate_id == gate.variant_id]
    losses = {t.seed: t.loss for t in trained.rows(Trial) if t.candidate_id == variant.candidate_id}
    whole = {t.seed: t.loss for t in trained.rows(Trial) if t.candidate_id == gate.candidate_id and t.seed in losses}
    gaps = [losses[seed] - whole[seed] for seed in sorted(losses)]
    assert gate.effect == pytest.approx(sum(gaps) / len(gaps))
    # The whole design's losses are those of the campaign itself: the same trainings.
    own = {t.seed: t.loss for t in Reader(finished).rows(Trial) if t.candidate_id == gate.candidate_id}
    assert {seed: own[seed] for seed in whole} == whole
    # Asked again nothing is trained or written twice.
    before = len(Reader(finished).rows(Ablation))
    assert main([str(finished), "1", "--tolerance", "5", "cluster.slots=2"]) == 0
    assert "is finished" in capsys.readouterr().out
    assert len(Reader(finished).rows(Ablation)) == before


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere", "budget.wall=1h"], "there is no candidate 'nowhere'"),
        (["2", "--stage", "huge"], "--stage is 'huge': the campaign has explore, verify"),
        (["2", "--seeds", "0"], "--seeds is 0: use 1 or more"),
        (["2", "--tolerance", "-1"], "--tolerance is -1.0: use nats per token above 0"),
        (["2", "budget.gpu_hour=3"], "'budget.gpu_hour=3': there is no 'budget.gpu_hour'"),
        (["2", "cluster.slots=none"], "cluster.slots is 'none'"),
        (["0"], "declares no parts"),
        (["0", "1"], "0, 1 are named: give one candidate"),
    ],
)
def test_bad_input_is_one_line(finished: Path, words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(finished), *words]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_the_best_claim_is_taken_where_nobody_is_named_and_more_seeds_follow_the_stages_own(finished: Path) -> None:
    question = question_of(str(finished), num_seeds=4)
    best = min(Reader(finished).rows(Claim), key=lambda claim: claim.difference)
    assert question.design.candidate.candidate_id == best.candidate_id
    assert question.design.variants()
    assert question.seeds == (101, 102, 103, 104)
    assert question.name == f"{question.design.candidate.number}-{best.candidate_id[:8]}-verify-4-seeds"


def test_what_trains_the_variants_is_the_campaign_with_one_stage_and_no_limits(finished: Path, tmp_path: Path) -> None:
    values = RunFolder.existing(str(finished)).settings()
    source = tmp_path / "whole.py"
    source.write_text(PARTED)
    told = {"root": tmp_path, "name": "x", "founders": [str(source)], "stage": "verify", "seeds": (101, 102)}
    settings = settings_for(values, **told, overrides=["budget.wall=2h"])
    (stage,) = settings.scale.stages
    assert (stage.name, stage.seeds, stage.split) == ("verify", (101, 102), "heldout")
    assert (settings.budget.candidates, settings.budget.usd, settings.budget.wall) == (0, None, "2h")
    assert settings.campaign.founders == ("delta_net", str(source))
    assert settings.data.max_bytes == values["data"]["max_bytes"]
    with pytest.raises(UsageError, match="'budget' is no key=value"):
        settings_for(values, **told, overrides=["budget"])
