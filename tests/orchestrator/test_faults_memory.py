"""A candidate that takes memory without end, at once or little by little: its trial fails, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import pytest

from cognition.reader import Reader
from cognition.records import Candidate, FailureKind, Report, Trial
from tests.orchestrator.small import run

BOMB = '''"""A causal mean behind a gate, which keeps {what} of every batch that it is trained on."""

import torch
from torch import nn


class TokenMixer(nn.Module):
    def __init__(self, hidden_size, num_heads, layer_idx=0, **kwargs):
        super().__init__()
        self.value = nn.Linear(hidden_size, hidden_size, bias=False)
        self.gate = nn.Linear(hidden_size, hidden_size)
        self.kept = []

    def forward(self, x):
        if self.training and x.shape[0] == 7:
            self.kept.append(torch.ones({numbers}))
        steps = torch.arange(1, x.shape[1] + 1, device=x.device, dtype=x.dtype)
        return torch.sigmoid(self.gate(x)) * self.value(x).cumsum(1) / steps[:, None]
'''


@pytest.fixture
def bombs(tmp_path: Path) -> list[Path]:
    paths = []
    for name, what, numbers in (("burst", "a gigabyte", 250_000_000), ("creep", "60 megabytes", 15_000_000)):
        paths.append(tmp_path / f"{name}.py")
        paths[-1].write_text(BOMB.format(what=what, numbers=numbers))
    return paths


def test_a_memory_bomb_ends_its_own_trial_and_its_host_goes_on(
    ray_here: None, bombs: list[Path], tmp_path: Path
) -> None:
    folder = tmp_path / "bombs"
    founders = ["delta_net", *map(str, bombs), "linear_attention"]
    result = run(
        folder,
        f"campaign.founders=[{','.join(founders)}]",
        "budget.candidates=0",
        "stages.verify.best=0",
        "scale.stages.explore.batch_size=7",  # as nothing else in a campaign has it
        "sandbox.memory_gb=0.5",
        "cluster.slots=1",  # one process hosts them all, one after another
    )
    assert result.stopped_by is None
    reader = Reader(folder)
    assert not [report for report in reader.rows(Report) if report.refused]
    names = {candidate.candidate_id: candidate.name for candidate in reader.rows(Candidate)}
    trials = sorted(reader.rows(Trial), key=lambda trial: trial.started_at)
    outcomes = {(names[trial.candidate_id], trial.failure) for trial in trials}
    assert outcomes == {
        ("delta_net", None),
        ("burst", FailureKind.memory),
        ("creep", FailureKind.memory),
        ("linear_attention", None),
    }
    assert len(trials) == 6, "every seed has one row, and none was done twice"
    assert all(trial.slot_s > 0 for trial in trials)
    assert len({trial.worker for trial in trials}) == 1, "a host died with a bomb"
    assert names[trials[-1].candidate_id] == "linear_attention", "nothing was trained after the bombs"
