"""Candidates that say what they do at load and in every forward pass, and the trials that they get."""

import dataclasses
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cognition.records import Metric, Trial
from models.data import DataSpec
from models.sandbox.parent import ForkServer
from models.scale import load_scale
from models.trial import TrialJob, TrialRun

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
# No trial here reaches its deadline, on a busy machine either, unless its test gives it one.
STAGE = dataclasses.replace(load_scale("tiny").stages[0], deadline_s=600.0)

# A causal mixer; FORWARD runs at the start of every forward pass, AT_LOAD when the module is loaded.
MIXER = """
import ctypes, os, signal, sys, time
import torch
from torch import nn

AT_LOAD

class TokenMixer(nn.Module):
    def __init__(self, hidden_size, num_heads, layer_idx=0, **kwargs):
        super().__init__()
        self.proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.num_calls = 0

    def forward(self, x):
        self.num_calls += 1
        FORWARD
        steps = torch.arange(1, x.shape[1] + 1)[:, None]
        return self.proj(x.cumsum(1) / steps)
"""
HONEST = MIXER.replace("AT_LOAD", "").replace("FORWARD", "pass")
STRAY = f"stray-{os.getpid()}"  # what hostile processes call themselves, at most 15 characters; others run tests too


def with_forward(*lines: str) -> str:
    return HONEST.replace("        pass", "\n".join(f"        {line}" for line in lines))


def with_load(*lines: str) -> str:
    return MIXER.replace("AT_LOAD", "\n".join(lines)).replace("FORWARD", "pass")


@pytest.fixture(scope="package")
def server() -> Iterator[ForkServer]:
    with ForkServer() as server:
        server.start()
        yield server


@pytest.fixture(scope="package")
def cuda_server() -> Iterator[ForkServer]:
    """Its children may start processes; what they train here, they train on the CPU."""
    with ForkServer(device="cuda") as server:
        server.start()
        yield server


@pytest.fixture(scope="package")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSpec:
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    words = ["state", "decay", "gate", "memory", "chunk", "head"]
    for number in range(40):
        (folder / f"{number}.txt").write_text(" ".join(rng.choice(words, size=300)))
    return DataSpec(source=str(folder))


def job(data: DataSpec, source: str, **changes: object) -> TrialJob:
    stage = dataclasses.replace(STAGE, **changes)  # type: ignore[arg-type]
    return TrialJob(
        trial_id="c-explore-s0",
        candidate_id="c",
        source=source,
        slot="token_mixer",
        stage=stage,
        seed=0,
        data=data,
    )


def finish(run: TrialRun) -> tuple[list[Metric], Trial]:
    metrics = []
    while isinstance(point := run.advance(), Metric):
        metrics.append(point)
    return metrics, point


def run_trial(server: ForkServer, job: TrialJob) -> tuple[list[Metric], Trial]:
    return finish(TrialRun(job, server))


def strays() -> list[str]:
    found = []
    for comm in Path("/proc").glob("[0-9]*/comm"):
        try:
            if comm.read_text().strip() == STRAY and "Z" not in comm.with_name("stat").read_text().split()[2]:
                found.append(comm.parent.name)
        except OSError:
            continue
    return found


def await_no_strays() -> None:
    """Wait until the last of them is gone: the fork server answers before the kernel has taken all apart."""
    until = time.monotonic() + 100
    while strays() and time.monotonic() < until:
        time.sleep(0.01)
    assert strays() == []


def await_strays(num: int) -> None:
    """Wait until `num` of them stay: those that fork and leave at once do not count."""
    until = time.monotonic() + 100
    seen: set[str] = set()
    while time.monotonic() < until:
        before, seen = seen, set(strays())
        if len(seen & before) >= num and seen == before:
            return
        time.sleep(0.05)
    raise AssertionError(f"only {seen} of {num} hostile processes came up")
