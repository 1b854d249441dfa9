"""A campaign's winner as a bundle: loaded by transformers alone, evaluated by the field's harness, trained again."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cognition.reader import Reader
from cognition.records import Candidate, Trial
from models.__main__ import main as models_main
from models.evaluation.local_tasks import local_names
from models.sandbox.settings import SandboxSettings
from orchestrator.bundle.winner import winner_of
from orchestrator.bundle.writing import write_bundle
from orchestrator.export import main
from orchestrator.run_folder import RunFolder

ROOT = Path(__file__).resolve().parents[2]

# Nothing of ours can be imported there; a prompt is continued with and without a state.
LOADED = """
import sys
for room in ("kernels", "models", "cognition", "orchestrator", "agents"):
    sys.modules[room] = None
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], trust_remote_code=True).eval()
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1], trust_remote_code=True)
asked = tokenizer("def f(x):", return_tensors="pt")
made = [model.generate(**asked, max_new_tokens=16, do_sample=False, use_cache=use) for use in (True, False)]
assert made[0].tolist() == made[1].tolist()
print(model.decodes, made[0].shape[1], sum(parameter.numel() for parameter in model.parameters()))
"""


def verified(folder: Path) -> Candidate:
    """The grammar's candidate that climbed."""
    reader = Reader(folder)
    climbed = {trial.candidate_id for trial in reader.rows(Trial) if trial.stage == "verify" and trial.succeeded}
    return next(c for c in reader.rows(Candidate) if c.candidate_id in climbed and c.arm != "baseline")


@pytest.fixture(scope="module")
def bundle(undisturbed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "winner"
    assert main([str(undisturbed), verified(undisturbed).candidate_id, "--out", str(out)]) == 0
    return out


def told(bundle: Path, name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads((bundle / name).read_text())
    return found


def test_it_holds_the_source_the_evidence_and_what_it_ran_on(undisturbed, bundle):
    winner = verified(undisturbed)
    assert (bundle / "source.py").read_text() == winner.source
    assert yaml.safe_load((bundle / "config.yaml").read_text())["settings"]["scale"]["name"] == "tiny"
    record = told(bundle, "reproduce.json")
    assert (record["candidate_id"], record["seed"]) == (winner.candidate_id, 101)
    assert record["corpus"] == yaml.safe_load((bundle / "config.yaml").read_text())["facts"]["data"]["digest"]
    gate = told(bundle, "gate.json")
    assert gate["kind"] == "passed"
    verdict = told(bundle, "verdict.json")
    assert verdict["claims"]
    assert {"low", "high", "num_seeds"} <= set(verdict["claims"][0])
    card = (bundle / "README.md").read_text()
    for shown in (winner.candidate_id, "runs it with your rights", "95% interval", "| causality | passed |"):
        assert shown in card
    assert (bundle / "diff_to_published.diff").read_text().startswith("---")
    assert "Entry " in (bundle / "nearest_idea.md").read_text()
    assert "torch==" in (bundle / "requirements.txt").read_text()


def test_a_fresh_interpreter_generates_from_it_with_transformers_alone(bundle, tmp_path):
    environment = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "PATH": os.environ["PATH"]}
    command = [sys.executable, "-P", "-c", LOADED, str(bundle)]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    decodes, length, parameters = done.stdout.split()
    assert (decodes, length) == ("True", "25")
    size = told(bundle, "reproduce.json")["stage"]["size"]
    embeddings = 2 * size["vocab_size"] * size["hidden_size"]
    assert int(parameters) <= told(bundle, "reproduce.json")["num_parameters"] + embeddings


def test_its_script_gives_the_same_figures(bundle):
    environment = {"PATH": os.environ["PATH"], "PYTHON": sys.executable, "PROJECT": str(ROOT)}
    done = subprocess.run([bundle / "reproduce.sh"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "bit-equal" in done.stdout


@pytest.mark.nightly
def test_its_script_notices_another_figure(bundle, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for name in ("reproduce.sh", "source.py"):
        (other / name).write_bytes((bundle / name).read_bytes())
    (other / "reproduce.sh").chmod(0o755)
    record = told(bundle, "reproduce.json")
    record["scores"][0]["value"] += 0.5
    (other / "reproduce.json").write_text(json.dumps(record))
    environment = {"PATH": os.environ["PATH"], "PYTHON": sys.executable, "PROJECT": str(ROOT)}
    done = subprocess.run([other / "reproduce.sh"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "DIFFERS" in done.stdout


def test_shellcheck_has_nothing_against_its_script(bundle):
    shellcheck = Path(sys.executable).with_name("shellcheck")
    found = subprocess.run([shellcheck, bundle / "reproduce.sh"], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


def test_its_script_says_what_it_lacks(bundle, tmp_path):
    environment = {"PATH": os.environ["PATH"], "PYTHON": "/bin/false"}
    done = subprocess.run([bundle / "reproduce.sh"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "set PROJECT to a checkout" in done.stderr.replace("\n", " ")


def test_its_script_installs_again_what_broke_off_and_shows_why(tmp_path):  # real environments: ten seconds
    script = Path(shutil.copy(ROOT / "orchestrator" / "bundle" / "reproduce.sh", tmp_path))
    environment = {"PATH": os.environ["PATH"], "PROJECT": str(ROOT), "PIP_NO_INDEX": "1"}

    def told() -> str:
        done = subprocess.run(["sh", script], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 2, done.stdout
        return done.stderr

    (tmp_path / "requirements.txt").write_text("./missing\n")
    for _ in range(2):
        found = told()
        assert "./missing" in found
        assert "requirements.txt could not be installed" in found
    (tmp_path / "requirements.txt").write_text("# nothing\n")
    found = told()
    assert "could not be installed" not in found
    assert "ModuleNotFoundError: No module named" in found


def test_the_harness_evaluates_it(bundle, tmp_path, capsys):
    out = tmp_path / "results.json"
    tasks = ["local_python_name_used", "local_recall", "local_text"]
    asked = ["evaluate", str(bundle), "--tasks", *tasks, "--limit", "6", "--trust-remote-code", "--out", str(out)]
    assert models_main(asked) == 0
    found = json.loads(out.read_text())
    assert set(found["results"]) == set(tasks)
    assert 0 <= found["results"]["local_python_name_used"]["acc,none"] <= 1
    assert 0 < found["results"]["local_text"]["bits_per_byte,none"] < 16
    assert "local_recall" in capsys.readouterr().out


@pytest.mark.nightly
def test_every_local_task_runs_and_an_unknown_one_is_named(bundle, tmp_path, capsys):
    out = tmp_path / "results.json"
    asked = ["evaluate", str(bundle), "--trust-remote-code", "--limit", "20", "--out", str(out)]
    assert models_main(asked) == 0
    assert len(json.loads(out.read_text())["results"]) == len(local_names())
    assert models_main([*asked, "--tasks", "no_such_task"]) == 2
    assert "no_such_task" in capsys.readouterr().err


def test_without_kept_weights_the_same_come_from_training_again(undisturbed, bundle, tmp_path, capsys):
    winner = winner_of(RunFolder.existing(undisturbed), verified(undisturbed).candidate_id)
    said: list[str] = []
    again = write_bundle(winner, tmp_path / "again", sandbox=SandboxSettings(), retrain=True, tell=said.append)
    assert (again / "model.safetensors").read_bytes() == (bundle / "model.safetensors").read_bytes()
    assert "figures to the bit" in said[-1]


def test_a_candidate_of_the_first_stage_alone_can_leave_too(undisturbed, tmp_path, capsys):
    assert main([str(undisturbed), "0", "--stage", "explore", "--out", str(tmp_path / "explored")]) == 0
    assert "is trained again, jailed, since none of its weights were kept" in capsys.readouterr().out
    ast.parse((tmp_path / "explored" / "candidate.py").read_text())


def test_bad_input_is_one_clear_line(undisturbed, tmp_path, capsys):
    cases = {
        ("99",): "no candidate '99'",
        ("0", "--stage", "verify", "--seed", "7"): "has no finished trial of stage verify on seed 7; there is:",
        ("best", "--out", str(tmp_path)): "holds something else",
    }
    (tmp_path / "thesis.tex").touch()
    for asked, message in cases.items():
        assert main([str(undisturbed), *asked]) == 2
        assert message in capsys.readouterr().err
    assert main([str(tmp_path), "0"]) == 2
    assert "is not a campaign's folder" in capsys.readouterr().err


def test_a_run_in_an_object_store_wants_a_folder_here_and_kept_its_weights_there(
    object_store, undisturbed, bundle, tmp_path, capsys
):
    place = object_store.uri("exported")
    folder = RunFolder(place).folder
    for path in undisturbed.rglob("*"):
        if path.is_file() and path.suffix in (".yaml", ".json", ".parquet", ".npz"):
            folder.write(path.relative_to(undisturbed).as_posix(), path.read_bytes())
    asked = [place, verified(undisturbed).candidate_id]
    assert main(asked) == 2
    assert "is in an object store, and bundles are written on this machine: give --out" in capsys.readouterr().err
    assert main([*asked, "--out", str(tmp_path / "here")]) == 0
    assert "trained again" not in capsys.readouterr().out
    assert (tmp_path / "here" / "model.safetensors").read_bytes() == (bundle / "model.safetensors").read_bytes()


def test_the_best_is_no_baseline_and_says_by_which_rule(undisturbed):
    best = winner_of(RunFolder.existing(undisturbed), "best")
    assert best.candidate.arm != "baseline"
    assert best.chosen_by.startswith(("the best claim at stage verify", "the highest fitness, since every claim"))
    assert winner_of(RunFolder.existing(undisturbed), best.candidate.candidate_id).chosen_by == ""
