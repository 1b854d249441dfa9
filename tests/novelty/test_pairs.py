"""The calibration holds: few wrong refusals, few repetitions missed. The figures are printed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from models.backbone import reference_parameters
from models.properties import examine
from models.scale import load_scale
from models.slots import slot_named
from tests.novelty.pairs import Pair, num_bases, pairs

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """The benchmark, in a process of its own: pairs in fla's style need the stand-in for the whole process."""
    path = tmp_path_factory.mktemp("calibration") / "figures.json"
    command = [sys.executable, "-m", "benchmarks.novelty_pairs", "--json", str(path)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=560, check=False)
    assert run.returncode == 0, run.stderr[-4000:]
    return json.loads(path.read_text()), run.stdout


def test_designs_are_told_apart_by_all_measures_together(
    calibrated: tuple[dict[str, Any], str], capsys: pytest.CaptureFixture[str]
) -> None:
    found, printed = calibrated
    with capsys.disabled():
        print(printed)
    for split in ("test", "tune"):
        together = found["designs"][split]["all together"]
        assert together["precision"] >= 0.98
        assert together["recall"] >= 0.9
        for measure in ("source hash alone", "behaviour alone", "structure alone"):
            assert (found["designs"][split][measure]["recall"] or 0) < together["recall"]


def test_motivations_are_refused_for_good_reasons_alone(calibrated: tuple[dict[str, Any], str]) -> None:
    found = calibrated[0]["motivations"]
    for split in ("test", "tune"):
        assert found["same words"][split]["precision"] == 1
        assert found["same words"][split]["recall"] > 0.1
        turned = f"kind turned, {split}"
        assert found["same words"][turned]["pairs"] >= 10
        assert found["same words"][turned]["found"] == 0
        assert found["cosine alone"][turned]["found"] >= 5  # or they were no hard ones


def test_the_set_is_as_large_and_as_mixed_as_it_is_said_to_be() -> None:
    made = pairs()
    assert len(made) >= 100
    assert num_bases() >= 20
    kinds = {pair.kind for pair in made}
    assert kinds == {
        *("renamed", "reordered", "refactored", "fused", "constant_without", "constant_with", "different"),
    }
    assert sum(pair.same for pair in made) >= 40
    assert sum(not pair.same for pair in made) >= 40


@pytest.mark.nightly
@pytest.mark.parametrize("pair", pairs(), ids=lambda pair: pair.name)
def test_every_pair_is_of_designs_that_pass_the_gate(pair: Pair) -> None:
    """Budget, cost and decoding aside: rewrites leave `step` as it was, and some are written to be read, not to run."""
    if pair.name.startswith("fla/"):
        pytest.skip("needs the stand-in for the whole process")
    size = load_scale("tiny").stages[0].size
    slot = slot_named(pair.slot)
    found = examine(pair.second, slot.name, size, reference_parameters(size, slot.name))
    failed = {item.name: item.detail for item in found.properties if not item.passed}
    assert {name: detail for name, detail in failed.items() if name not in ("contract", "cost", "decode")} == {}
