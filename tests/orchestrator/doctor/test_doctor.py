"""The doctor on a real Ray: what it finds, and what it leaves behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.config import compose, settings_from
from orchestrator.doctor.__main__ import examine, main
from orchestrator.doctor.findings import Verdict
from tests.orchestrator.small import PATIENT

TINY = ("+campaign=linear_attn", "scale=tiny", "data.max_bytes=1500000", "tracking=none", *PATIENT)


def test_on_a_healthy_machine_every_pool_trains_and_nothing_is_left(ray_here: None, tmp_path: Path) -> None:
    found = list(examine(settings_from(compose([*TINY, f"run.root={tmp_path}"]))))
    assert {finding.subject.split()[0] for finding in found} == {
        "store",
        "cluster",
        "node",
        "pool",
        "checkpoints",
        "trials",
    }
    assert not [finding for finding in found if finding.verdict is Verdict.failed]
    trained = [finding.told for finding in found if "sealed loss" in finding.told]
    assert [told.split(":")[0] for told in trained] == ["stage explore", "stage verify"]
    assert list(tmp_path.iterdir()) == []


def test_where_something_failed_nothing_is_trained_and_the_code_is_one(
    ray_here: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a file"
    file.write_text("and no folder")
    assert main([*TINY, f"run.root={tmp_path}", f"checkpoints.uri='{file}'"]) == 1
    told = capsys.readouterr().out
    assert "FAIL  checkpoints: " in told
    assert "sealed loss" not in told
    assert told.rstrip().endswith("checks failed: a campaign would not run as configured")


def test_a_store_that_cannot_be_written_is_told_before_anything_is_started(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert main([*TINY, f"run.root={file}"]) == 1
    assert capsys.readouterr().out.startswith(f"FAIL  store: {file} cannot be used: ")


def test_bad_input_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TINY, "pools.explore.cpus=-1"]) == 2
    assert capsys.readouterr().err.startswith("error: pools.explore")
