from __future__ import annotations

from pathlib import Path

import pytest

from models.__main__ import USAGE, main


def run(*arguments: str) -> int:
    return main(["pack", *arguments])


def test_a_pack_is_made_described_and_verified(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for number in range(200):
        (tmp_path / f"{number}.txt").write_bytes(f"text number {number} ".encode() * 20 + b"\xff" * (number == 7))
    values = (f"source={tmp_path}", f"cache={tmp_path / 'cache'}", "tokenizer=bpe", "vocab_size=300")
    assert run("--data", "folder", *values, "--processes", "2") == 0
    shown = capsys.readouterr()
    assert "trained a BPE" in shown.err
    assert "1 documents had bytes that are no UTF-8" in shown.out
    assert "verified by sizes and ends" in shown.out
    for name in ("train", "validation", "heldout", "all"):
        assert f"\n{name} " in shown.out
    assert run("--data", "folder", *values, "--verify") == 0
    assert "verified whole" in capsys.readouterr().out


def test_a_corpus_in_memory_is_described_and_nothing_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert run("--data", "stdlib", "max_bytes=200000") == 0
    shown = capsys.readouterr().out
    assert "200,000" in shown
    assert "nothing was written" in shown
    assert not list(tmp_path.iterdir())


def test_bad_values_are_one_line_and_exit_code_two(capsys: pytest.CaptureFixture[str]):
    assert run("--data", "folder", "source=/nowhere/at/all") == USAGE
    shown = capsys.readouterr().err
    assert shown.startswith("error: data.source '/nowhere/at/all'")
    assert shown.count("\n") == 1
