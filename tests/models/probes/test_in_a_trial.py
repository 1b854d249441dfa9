"""Several probes through a whole trial: jailed training, sealed evaluation, scores under the probes' names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cognition.records import Metric
from models.data import DataSpec
from models.probes import probe_from_mapping
from models.sandbox.parent import ForkServer
from models.scale import load_scale
from models.trial import TrialJob, TrialRun

TRAINING = {"steps": 4, "batch_size": 4, "learning_rate": 4e-3, "eval_items": 16}
ENTRIES = {
    "light": {"task": "mqar", "num_pairs": 2, "num_keys": 8, "length": 16, **TRAINING},
    "heavy": {"task": "mqar", "num_pairs": 4, "num_keys": 8, "length": 16, **TRAINING},
    "group": {"task": "s3", "moves": "swaps", "length": 6, **TRAINING},
}
MIXER = """
import torch
from torch import nn

class TokenMixer(nn.Module):
    def __init__(self, hidden_size, num_heads, layer_idx=0, **kwargs):
        super().__init__()
        self.proj = nn.Linear(hidden_size, hidden_size, bias=False)

    def forward(self, x):
        return self.proj(x.cumsum(1) / torch.arange(1, x.shape[1] + 1)[:, None])
"""


@pytest.fixture
def data(tmp_path: Path) -> DataSpec:
    for number in range(20):
        (tmp_path / f"{number}.txt").write_text("state decay gate memory " * 60)
    return DataSpec(source=str(tmp_path))


def test_every_probe_of_a_stage_is_trained_and_scored_beside_its_chance(data: DataSpec):
    specs = tuple(probe_from_mapping("probes", name, entry) for name, entry in ENTRIES.items())
    stage = replace(load_scale("tiny").stage("explore"), probes=specs)
    job = TrialJob(trial_id="t", candidate_id="c", source=MIXER, slot="token_mixer", stage=stage, seed=0, data=data)
    points: list[Metric] = []
    with ForkServer() as server:
        run = TrialRun(job, server)
        while isinstance(found := run.advance(), Metric):
            points.append(found)
    assert found.succeeded, found.detail
    assert {point.task for point in points} == {"canary", "text", *ENTRIES}
    scores = {score.name: score for score in found.scores if score.chance is not None}
    assert {name: score.chance for name, score in scores.items()} == {
        "light_accuracy": 0.5,
        "heavy_accuracy": 0.25,
        "group_accuracy": specs[2].chance,
    }
    assert [score.num_items for score in scores.values()] == [16 * 2, 16 * 4, 16 * 6]
    assert found.benchmark == pytest.approx(sum(score.value for score in scores.values()) / 3)
