"""The GPU script's bookkeeping, with pieces that are a line of Python each; nothing here needs a GPU."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks import gpu


def piece(name: str, code: str) -> gpu.Piece:
    """`out` is the file for its figures."""
    return gpu.Piece(name=name, command=[sys.executable, "-c", f"import json, sys\nout = sys.argv[-1]\n{code}"])


def writes(name: str, **figures: Any) -> gpu.Piece:
    return piece(name, f"open(out, 'w').write(json.dumps({figures!r}))")


def fails(name: str, error: str) -> gpu.Piece:
    return piece(name, f"from models import micro_batches, training\nraise {error}")


def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *todo: gpu.Piece, part: str = "trainer") -> dict[str, Any]:
    """One run of the script with these pieces; what it wrote."""
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    monkeypatch.setattr(gpu, "PARTS", (part,))
    monkeypatch.setattr(gpu, "pieces", lambda *_: list(todo))
    gpu.main(["--results", str(tmp_path)])
    found: dict[str, Any] = json.loads((tmp_path / f"{part}.json").read_text())["figures"]
    return found


def test_when_ours_fails_the_others_are_still_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = run(monkeypatch, tmp_path, fails("ours", "KeyError('x')"), writes("fla in a plain loop", tokens_s=100))
    assert found["pieces"]["fla in a plain loop"]["tokens_s"] == 100
    assert found["pieces"]["ours"]["failed"] == "KeyError: 'x'"
    assert "ratios" not in found


def test_ratios_are_those_of_what_was_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    todo = [writes("ours", tokens_s=300), fails("other", "ValueError('no')"), writes("slow", tokens_s=100)]
    assert run(monkeypatch, tmp_path, *todo)["ratios"] == {"ours / slow": 3.0}


def test_what_failed_is_tried_again_and_what_succeeded_is_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run(monkeypatch, tmp_path, fails("ours", "ValueError('first')"), writes("slow", tokens_s=100))
    found = run(monkeypatch, tmp_path, writes("ours", tokens_s=200), fails("slow", "ValueError('again')"))
    assert found["pieces"]["slow"]["tokens_s"] == 100
    assert found["ratios"] == {"ours / slow": 2.0}


@pytest.mark.parametrize("error", ["micro_batches.OutOfMemory", "training.NonFinite", "training.Diverged"])
def test_any_failure_is_kept_with_the_last_line_of_its_traceback(error: str) -> None:
    found = gpu.run_piece(fails("ours", f"{error}('first line\\nsecond line')"), 60.0)
    assert found["failed"] == f"models.{error}: first line"
    assert found["exit_code"] == 1


def test_a_cause_stays_behind_the_error_that_was_raised_from_it() -> None:
    found = gpu.run_piece(
        piece("ours", "try: 1 / 0\nexcept ZeroDivisionError as e: raise ValueError('whole') from e"), 60
    )
    assert found["failed"] == "ValueError: whole"


def test_a_piece_that_dies_without_a_word_is_a_failure() -> None:
    found = gpu.run_piece(piece("ours", "import os\nos.kill(os.getpid(), 9)"), 60.0)
    assert (found["failed"], found["exit_code"]) == ("exit code -9", -9)
    assert gpu.run_piece(piece("ours", "pass"), 60.0)["failed"].startswith("left no figures")


def test_a_piece_beyond_its_limit_ends_with_what_it_started(tmp_path: Path) -> None:
    said = tmp_path / "pid"
    code = f"""
import subprocess, time
grandchild = subprocess.Popen(["sleep", "1000"])  # it holds the output open
open({str(said)!r}, "w").write(str(grandchild.pid))
time.sleep(1000)
"""
    assert gpu.run_piece(piece("ours", code), 3.0)["failed"] == "took longer than 3 s"
    grandchild = int(said.read_text())
    assert not psutil.pid_exists(grandchild) or psutil.Process(grandchild).status() == psutil.STATUS_ZOMBIE


def test_each_outcome_is_saved_before_the_next_piece_begins(tmp_path: Path) -> None:
    saved: list[list[str]] = []
    todo = [writes("one", x=1), piece("two", "print(1 / 0)"), writes("three", x=1)]
    assert gpu.run_part("part", todo, {}, lambda outcomes: saved.append(list(outcomes)), 60.0) == 1
    assert saved == [["one"], ["one", "two"], ["one", "two", "three"]]


def test_results_of_another_gpu_or_shape_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "trainer.json"
    path.write_text(json.dumps({"figures": {"device": "a GPU", "pieces": {"ours": {"tokens_s": 1}}}}))
    assert gpu.earlier_outcomes(path, "a GPU") == {"ours": {"tokens_s": 1}}
    assert gpu.earlier_outcomes(path, "another GPU") == {}
    path.write_text('{"figures": {"device": "a GPU", "ways"')
    assert gpu.earlier_outcomes(path, "a GPU") == {}


def test_names_of_pieces_are_those_of_the_scripts_that_run_them() -> None:
    ways, kernels = (gpu.ROOT / "benchmarks" / name for name in ("gpu_ways.py", "gpu_kernels.py"))
    assert tuple(re.findall(r'^    "(.+)": lambda', ways.read_text(), re.MULTILINE)) == gpu.WAYS
    assert tuple(re.findall(r'^            name="(.+)",$', kernels.read_text(), re.MULTILINE)) == gpu.OPERATORS


def test_every_part_writes_below_the_folder_that_is_asked_for() -> None:
    for part in gpu.PARTS:
        for piece in gpu.pieces(part, quick=False, device="cuda"):
            assert not any("results" in word for word in piece.command)
