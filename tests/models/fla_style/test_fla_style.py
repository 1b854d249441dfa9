"""Modules written in fla's manner, without a thought of our contract: loaded, examined and trained as they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cognition.records import Report, ReportKind, Trial, TrialStatus
from models.data import DataSpec
from models.entry import with_entry
from models.sandbox.exam import ExamJob, examine
from models.sandbox.parent import ForkServer
from models.scale import load_scale
from models.trial import TrialJob, TrialRun

FOLDER = Path(__file__).parent
MODULES = {"gated_delta": "GatedDeltaLayer", "low_rank_gated": "LowRankGatedAttention", "path_fusion": "PathFusionNet"}


def source(name: str) -> str:
    return with_entry((FOLDER / f"{name}.py").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    with ForkServer() as server:
        server.start()
        yield server


def examined(server: ForkServer, text: str) -> Report:
    stage = load_scale("cpu").stages[0]
    return examine(
        ExamJob(
            candidate_id="c",
            number=0,
            attempt=0,
            source=text,
            slot="token_mixer",
            size=stage.size,
            length=stage.length,
            deadline_s=120,
        ),
        server,
    )


@pytest.mark.parametrize("name", MODULES)
def test_its_layer_is_found_and_passes_policy_and_gate(server: ForkServer, name: str):
    text = source(name)
    assert text.splitlines()[-1] == f"TokenMixer = {MODULES[name]}"
    report = examined(server, text)
    failed = [(item.name, item.detail) for item in report.properties if not item.passed]
    assert report.kind is ReportKind.passed, failed or report.detail
    found = {item.name: item for item in report.properties}
    assert {"policy", "causality", "batch_independence", "prefix_consistency", "cost", "state", "decode"} <= set(found)
    assert "attention_mask honoured" in found["batch_independence"].detail
    assert report.state_bytes
    assert report.flops_per_token


@pytest.mark.parametrize(
    ("name", "honest", "leaking", "caught_by"),
    [
        ("gated_delta", "o = o + self.D[:, None] * v", "o = o + self.D[:, None] * v.flip(1)", "causality"),
        ("low_rank_gated", "o = self.g_norm(o.to(", "o = o + v.mean(1, True); o = self.g_norm(o.to(", "causality"),
        ("path_fusion", "x.new_zeros(*x.shape[:2]", "torch.randn(*x.shape[:2]", "determinism"),
        ("path_fusion", "(conv_q, conv_k, conv_v, fir_s, fir_l)", "(conv_q, conv_k, conv_v, None, None)", "decode"),
    ],
)  # fmt: skip
def test_a_leak_or_a_broken_cache_in_it_is_refused(
    server: ForkServer, name: str, honest: str, leaking: str, caught_by: str
):
    text = source(name)
    assert honest in text
    report = examined(server, text.replace(honest, leaking))
    assert report.kind is ReportKind.refused
    assert caught_by in [item.name for item in report.properties if not item.passed]


@pytest.mark.parametrize("name", MODULES)
def test_it_trains_and_is_scored(server: ForkServer, name: str, tmp_path: Path):
    stage = load_scale("tiny").stages[0]
    for number in range(40):
        (tmp_path / f"{number}.txt").write_text("state decay gate memory chunk head " * (20 + number))
    job = TrialJob(
        trial_id="t",
        candidate_id="c",
        source=source(name),
        slot="token_mixer",
        stage=stage,
        seed=0,
        data=DataSpec(source=str(tmp_path)),
    )
    run = TrialRun(job, server)
    while not isinstance(point := run.advance(), Trial):
        pass
    assert point.status is TrialStatus.finished, point.detail
    assert point.loss is not None
    assert 0 < point.loss < 6
