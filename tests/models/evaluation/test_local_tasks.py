"""The tasks that the harness is given without a network: made from a seed, in its own format."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from models.__main__ import main
from models.evaluation.harness import task_names
from models.evaluation.local_tasks import STANDARD, local_names, write_tasks


def test_tasks_follow_from_the_seed(tmp_path):
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        write_tasks(tmp_path / name, num=20, seed=seed)
    for name in local_names():
        one, same, other = ((tmp_path / seed / f"{name}.jsonl").read_text() for seed in ("one", "same", "other"))
        assert one == same
        assert one != other


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
