"""Minimal pairs and the tasks that the harness is given: made from a seed, fair to whoever guesses."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from statistics import mean

import pytest
import yaml

from models.__main__ import main
from models.evaluation.harness import task_names
from models.evaluation.local_tasks import STANDARD, local_names, write_tasks
from models.evaluation.minimal_pairs import FAMILIES, minimal_pairs


@pytest.mark.parametrize("family", FAMILIES)
def test_pairs_are_different_and_follow_from_the_seed(family):
    pairs = minimal_pairs(family, 200, seed=1)
    assert len(set(pairs)) == 200
    assert pairs == minimal_pairs(family, 200, seed=1)
    assert pairs != minimal_pairs(family, 200, seed=2)
    assert all(pair.good != pair.bad for pair in pairs)


@pytest.mark.parametrize("family", FAMILIES)
def test_length_decides_nothing(family):
    pairs = minimal_pairs(family, 200, seed=0)
    assert abs(mean(len(pair.good) - len(pair.bad) for pair in pairs)) < 0.25
    shorter = mean((len(pair.good) < len(pair.bad)) + 0.5 * (len(pair.good) == len(pair.bad)) for pair in pairs)
    assert 0.4 <= shorter <= 0.6


@pytest.mark.parametrize("family", [name for name in FAMILIES if name.startswith("python")])
def test_right_python_parses_and_wrong_python_is_wrong(family):
    for pair in minimal_pairs(family, 50, seed=0):
        ast.parse(pair.good)
        if family == "python_names":
            (function,) = ast.parse(pair.bad).body
            assert isinstance(function, ast.FunctionDef)
            used = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
            assert function.args.args[0].arg not in used
        else:
            with pytest.raises(SyntaxError):
                ast.parse(pair.bad)


def test_more_pairs_than_there_are_is_an_error():
    with pytest.raises(ValueError, match="ask for fewer"):
        minimal_pairs("english_agreement", 1_000, seed=0)
    with pytest.raises(ValueError, match="no family of minimal pairs named 'latin'"):
        minimal_pairs("latin", 1, seed=0)


def test_every_task_is_a_file_of_the_harness_with_its_data(tmp_path):
    write_tasks(tmp_path / "tasks", num=10)
    group = yaml.safe_load((tmp_path / "tasks" / "local.yaml").read_text())
    assert group["task"] == list(local_names())
    for name in local_names():
        task = yaml.safe_load((tmp_path / "tasks" / f"{name}.yaml").read_text())
        data = Path(task["dataset_kwargs"]["data_files"]["test"]).read_text(encoding="utf-8")
        rows = [json.loads(line) for line in data.splitlines()]
        assert rows
        assert all(all(row.values()) for row in rows)


def test_groups_open_up_once():
    assert task_names(["local", "local_text", "piqa"]) == (*local_names(), "piqa")
    assert task_names(["standard"]) == STANDARD


def test_generated_code_is_not_run_unasked(tmp_path, capsys):
    assert main(["evaluate", str(tmp_path)]) == 2
    assert "--trust-remote-code" in capsys.readouterr().err


def test_a_folder_without_a_model_is_named(tmp_path, capsys):
    assert main(["evaluate", str(tmp_path), "--trust-remote-code"]) == 2
    assert "is no model" in capsys.readouterr().err
