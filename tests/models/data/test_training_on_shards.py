from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest

from cognition.records import Metric, Trial, TrialStatus
from models.data import DataSpec, pack
from models.data.index import verify
from models.sandbox.parent import ForkServer
from models.scale import load_scale
from models.trial import TrialJob, TrialRun

STAGE = load_scale("tiny").stages[0]
VOCAB = 300

VANDAL = """
import os
import stat
import torch
from torch import nn

SPOIL = (
    lambda fd: os.pwrite(fd, b"spoilt", 0),
    lambda fd: os.ftruncate(fd, 0),
    lambda fd: os.fchmod(fd, 0),
    lambda fd: os.write(os.open(f"/proc/self/fd/{fd}", os.O_RDWR), b"spoilt"),
)
for fd in range(3, 40):
    for spoil in SPOIL:
        try:
            if stat.S_ISREG(os.fstat(fd).st_mode):
                spoil(fd)
        except OSError:
            pass


class TokenMixer(nn.Module):
    def __init__(self, hidden_size, num_heads, layer_idx=0, **kwargs):
        super().__init__()
        self.proj = nn.Linear(hidden_size, hidden_size, bias=False)

    def forward(self, x):
        steps = torch.arange(1, x.shape[1] + 1)[:, None]
        return self.proj(x.cumsum(1) / steps)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    with ForkServer() as server:
        server.start()
        yield server


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSpec:
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    words = ["state", "decay", "gate", "memory", "chunk", "head"]
    for number in range(200):
        (folder / f"{number}.txt").write_text(" ".join(rng.choice(words, size=300)))
    return DataSpec(source=str(folder), tokenizer="bpe", vocab_size=VOCAB, cache=str(folder / "cache"))


def trial_of(data: DataSpec, vocab_size: int, server: ForkServer) -> Trial:
    stage = dataclasses.replace(STAGE, size=dataclasses.replace(STAGE.size, vocab_size=vocab_size))
    run = TrialRun(
        TrialJob(
            trial_id="c-explore-s0",
            candidate_id="c",
            source=VANDAL,
            slot="token_mixer",
            stage=stage,
            seed=0,
            data=data,
        ),
        server,
    )
    while isinstance(point := run.advance(), Metric):
        pass
    return point


def test_a_jailed_child_trains_on_shards_that_it_cannot_change(server: ForkServer, data: DataSpec):
    found = pack(data)
    before = {path.name: path.stat().st_mode for path in found.folder.iterdir()}
    trial = trial_of(data, VOCAB, server)
    assert (trial.status, trial.detail) == (TrialStatus.finished, "")
    assert trial.loss is not None
    assert trial.loss < np.log(VOCAB) - 0.5  # it has learned from them
    verify(found.folder, found.index, whole=True)
    assert {path.name: path.stat().st_mode for path in found.folder.iterdir()} == before
