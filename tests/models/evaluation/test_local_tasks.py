"""The tasks that the harness is given without a network: made from a seed, in its own format."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from models.__main__ import main
from models.evaluation.harness import task_names
from models.evaluation.local_tasks import STANDARD, local_names, write_tasks

# The harness itself, on a model that gives every text the same likelihood.
INDIFFERENT = """
import json, sys
from lm_eval import simple_evaluate
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager
class Indifferent(LM):
    def loglikelihood(self, requests):
        return [(float(sys.argv[2]), False) for _ in requests]
    loglikelihood_rolling = generate_until = None
tasks = ["local_python_name_used", "local_english_reflexive"]
known = TaskManager(include_path=sys.argv[1], include_defaults=False)
found = simple_evaluate(model=Indifferent(), tasks=tasks, task_manager=known, bootstrap_iters=0)
print(json.dumps([found["results"][task]["acc,none"] for task in tasks]))
"""


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
        assert all(value != "" for row in rows for value in row.values())


@pytest.mark.parametrize("likelihood", [-1.0, math.nan])
def test_a_model_that_tells_nothing_is_right_by_halves(tmp_path, likelihood):
    write_tasks(tmp_path / "tasks", num=20)
    command = [sys.executable, "-c", INDIFFERENT, str(tmp_path / "tasks"), str(likelihood)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "HF_DATASETS_CACHE": str(tmp_path)}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == [0.5, 0.5]


def test_groups_open_up_once():
    assert task_names(["local", "local_text", "piqa"]) == (*local_names(), "piqa")
    assert task_names(["standard"]) == STANDARD


def test_generated_code_is_not_run_unasked(tmp_path, capsys):
    assert main(["evaluate", str(tmp_path)]) == 2
    assert "--trust-remote-code" in capsys.readouterr().err


def test_a_folder_without_a_model_is_named(tmp_path, capsys):
    assert main(["evaluate", str(tmp_path), "--trust-remote-code"]) == 2
    assert "is no model" in capsys.readouterr().err
