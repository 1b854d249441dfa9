"""The command line in this process: texts, exit codes, one line for what is the user's to mend."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from orchestrator.__main__ import main


def test_help_names_the_campaigns_and_how_to_choose(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["+campaign=linear_attn", "--help"]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    assert "campaigns   channel_mixer, linear_attn\n" in told.out
    for known in ("+campaign=NAME", "budget.candidates", "deterministic=true", "--cfg job", "orchestrator.stop"):
        assert known in told.out
    assert main(["-h"]) == 0
    assert capsys.readouterr().out == told.out


def test_the_configuration_is_printed_whole_and_nothing_is_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["+campaign=linear_attn", "scale=tiny", "--cfg", "job", "seed=7"]) == 0
    values = yaml.safe_load(capsys.readouterr().out)
    assert values["campaign"]["name"] == "linear_attn"
    assert values["scale"]["name"] == "tiny"
    assert values["seed"] == 7
    assert {"run", "budget", "flow", "fitness", "grammar", "data", "arms", "selection", "cluster"} <= set(values)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["+campaign=other"], "linear_attn"),
        (["--cfg", "job", "+campaign=other"], "linear_attn"),
        ([], "+campaign=NAME (known: channel_mixer, linear_attn)"),
        (["+campaign=linear_attn", "--verbose"], "unknown option --verbose: known are --help and --cfg job"),
        (["-x", "+campaign=linear_attn"], "unknown option -x"),
        (["+campaign=linear_attn", "--cfg"], "--cfg takes one value, job"),
        (["+campaign=linear_attn", "--cfg", "hydra"], "--cfg takes one value, job"),
        (["+campaign=linear_attn", "bugdet.candidates=3"], "bugdet"),
        (["+campaign=linear_attn", "scale=huge"], "scale/huge"),
        (["+campaign=linear_attn", "budget.candidates=-1"], "budget.candidates is -1"),
        (["+campaign=linear_attn", "two words"], "two words"),
    ],
)
def test_bad_input_is_exit_code_2_and_one_line(
    arguments: list[str],
    told: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1
    assert told in shown.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("num_files", "told"),
    [(0, "0 text files"), (5, "stage explore"), (None, "is no folder")],
)
def test_a_missing_empty_or_tiny_corpus_is_refused_before_anything_starts(
    num_files: int | None,
    told: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    if num_files is not None:
        (tmp_path / "corpus").mkdir()
        for index in range(num_files):
            (tmp_path / "corpus" / f"{index}.txt").write_text(f"a short text, number {index}")
    corpus = tmp_path / "corpus"
    assert main(["+campaign=linear_attn", "scale=tiny", "data=folder", f"data.source={corpus}"]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1
    assert told in shown.err
    assert not (tmp_path / "runs").exists()


def test_a_folder_corpus_needs_its_source(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["+campaign=linear_attn", "scale=tiny", "data=folder"]) == 2
    assert "data.source" in capsys.readouterr().err
