"""A design whose effect is real ends as a discovery; designs that differ in behaviour alone do not. Whole campaigns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from agents.brief import Brief, Evidence
from cognition.reader import Reader
from cognition.records import Candidate, ClaimState, ReportKind, candidate_id_of
from models.slots import published_source
from orchestrator.campaign import Campaign
from orchestrator.result import Result
from tests.orchestrator.small import PATIENT

NUM_NULL = 24

# Large enough that a decaying state tells, small enough for minutes: a trial takes about two seconds.
SMALL_BUT_LEARNING = (
    *("+campaign=linear_attn", "scale=tiny", "data.max_bytes=1500000", "tracking=none", "cluster.slots=2"),
    *("scale.stages.explore.steps=120", "scale.stages.verify.steps=120", "scale.stages.verify.warmup_steps=10"),
    *("scale.stages.explore.batch_size=8", "scale.stages.verify.batch_size=8"),
    *("scale.stages.explore.length=64", "scale.stages.verify.length=64", "scale.stages.verify.eval_windows=64"),
    *("campaign.founders=[delta_net]", "arms.weights.grammar=0", "arms.weights.random=0", "+arms.weights.planted=1"),
    *("stages.explore.stopping.policy=none", "stages.verify.more_seeds=6", "deterministic=true"),
    *("novelty.same_motivation=1", "novelty.doubtful_motivation=1"),  # what is written of them is made up
    *PATIENT,
)


class Planted:
    """Hands out these sources, one after another."""

    def __init__(self, sources: Sequence[str], num_founders: int) -> None:
        self.sources, self.num_founders = tuple(sources), num_founders

    async def propose(self, brief: Brief) -> Candidate:
        index = brief.number - self.num_founders
        source = self.sources[index % len(self.sources)]
        return Candidate(
            candidate_id=candidate_id_of(source),
            number=brief.number,
            attempt=brief.attempt,
            arm=brief.arm,
            slot=brief.slot,
            name=f"planted {index}",
            motivation=f"planted design {index}",
            source=source,
            created_at=brief.now,
        )

    async def repair(self, candidate: Candidate, evidence: Evidence, brief: Brief) -> Candidate:
        raise AssertionError(f"{candidate.name} was refused: {evidence.report.detail}")


def null_designs(num: int) -> list[str]:
    """DeltaNet with the signs of what its memory hands on flipped, each design some others.

    The weights behind are drawn from a law that knows no sign, and AdamW knows none either: behaviour differs from the
    first step on, what is learned differs by luck alone.
    """
    source = published_source("token_mixer", "delta_net")
    wanted = "out: torch.Tensor = self.o_proj(self.o_norm(o).flatten(2))"
    assert source.count(wanted) == 1
    rng, found = np.random.default_rng(0), []
    for _ in range(num):
        signs = [int(sign) for sign in rng.choice([-1, 1], size=16)]
        flipped = (
            f"signs = o.new_tensor({signs}).repeat_interleave(o.shape[2] * o.shape[3] // {len(signs)})"
            "\n        out: torch.Tensor = self.o_proj(self.o_norm(o).flatten(2) * signs)"
        )
        found.append(source.replace(wanted, flipped))
    assert len(set(found)) == num
    return found


def run(folder: Path, sources: Sequence[str]) -> Result:
    campaign = Campaign.compose(
        *SMALL_BUT_LEARNING,
        *(f"run.root={folder}", f"run.name=n{len(sources)}", f"budget.candidates={len(sources)}"),
        f"stages.verify.best={len(sources)}",
        proposers={"planted": Planted(sources, num_founders=1)},
    )
    return campaign.run()


def states(result: Result) -> dict[str, ClaimState]:
    names = {member.candidate.candidate_id: member.candidate.name for member in result.members}
    return {names[claim.candidate_id]: claim.state for claim in result.claims}


@pytest.mark.nightly
@pytest.mark.timeout(2_400)
def test_a_design_whose_effect_is_real_is_a_discovery_and_null_designs_are_not(ray_here: None, tmp_path: Path) -> None:
    null = null_designs(NUM_NULL)
    result = run(tmp_path, [published_source("token_mixer", "mamba2"), *null])
    assert result.stopped_by is None
    found = states(result)
    assert len(found) == 1 + NUM_NULL
    assert found.pop("planted 0") is ClaimState.discovery
    assert set(found.values()) <= {ClaimState.rejected, ClaimState.undecided, ClaimState.promising}
    passed = [report for report in result.members if report.report and report.report.kind is ReportKind.passed]
    assert len(passed) == 2 + NUM_NULL  # null designs are no duplicates: their behaviour differs


@pytest.mark.nightly
@pytest.mark.timeout(2_400)
def test_a_campaign_of_null_designs_finds_nothing(ray_here: None, tmp_path: Path) -> None:
    result = run(tmp_path, null_designs(NUM_NULL))
    assert result.stopped_by is None
    found = states(result)
    assert len(found) == NUM_NULL
    assert ClaimState.discovery not in found.values()
    assert Reader(result.folder).query("SELECT count(*) FROM verified WHERE state = 'discovery'").rows == [(0,)]
