"""`python -m models check`, as anybody would call it on anybody's file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.slots import SLOTS, published_source

ROOT = Path(__file__).resolve().parents[2]
NAMES = (
    *("policy", "contract", "shape", "dtype", "finite", "gradients", "causality", "batch_independence"),
    *("prefix_consistency", "cost", "determinism", "state", "decode"),
)
LEAK = """
from torch import nn

class Mean(nn.Module):
    def __init__(self, hidden_size, num_heads, layer_idx=0, **kwargs):
        super().__init__()
        self.proj = nn.Linear(hidden_size, hidden_size)

    def forward(self, x):
        return self.proj(x) + x.mean(1, keepdim=True)

class Other(nn.Module):
    def forward(self, x):
        return x
"""


def check(*arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "models", "check", *map(str, arguments)],
        cwd=folder,  # anybody's folder: the package is found by its path alone
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=560,
    )


@pytest.fixture
def honest(tmp_path: Path) -> Path:
    (tmp_path / "honest.py").write_text(published_source("token_mixer", "linear_attention"))
    return tmp_path / "honest.py"


def test_an_honest_file_passes_and_json_holds_every_property(honest: Path) -> None:
    done = check(honest.name, "--format", "json", "--scale", "tiny", folder=honest.parent)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["passed"] is True
    names = [item["name"] for item in found["properties"]]
    assert set(names) <= set(NAMES)
    assert set(names) >= set(NAMES) - {"decode"}
    for item in found["properties"]:
        assert set(item) == {"name", "passed", "figure", "limit", "detail"}
        assert item["passed"] is True


def test_a_file_for_another_slot_meets_that_slots_properties(tmp_path: Path) -> None:
    (tmp_path / "glu.py").write_text(published_source("channel_mixer", "geglu"))
    done = check("glu.py", "--slot", "channel_mixer", "--format", "json", "--scale", "tiny", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    names = [item["name"] for item in json.loads(done.stdout)["properties"]]
    assert names == ["policy", *SLOTS["channel_mixer"].properties]


def test_a_leak_is_refused_with_its_figure(tmp_path: Path) -> None:
    (tmp_path / "leak.py").write_text(LEAK)
    done = check("leak.py", "--entry", "Mean", "--format", "json", "--scale", "tiny", folder=tmp_path)
    assert done.returncode == 1
    found = {item["name"]: item for item in json.loads(done.stdout)["properties"]}
    assert not found["causality"]["passed"]
    assert found["causality"]["figure"] > found["causality"]["limit"]


@pytest.mark.parametrize(
    ("text", "flags", "name", "word"),
    [
        ("open('/etc/passwd').read()\nclass TokenMixer: pass\n", ["--no-policy"], "contract", "/etc/passwd"),
        ("class TokenMixer(:\n", [], "policy", "line 1"),
    ],
)
def test_hostile_and_broken_files_are_refused_not_run_into(
    tmp_path: Path, text: str, flags: list[str], name: str, word: str
) -> None:
    (tmp_path / "bad.py").write_text(text)
    done = check("bad.py", "--format", "json", "--scale", "tiny", *flags, folder=tmp_path)
    assert done.returncode == 1, done.stderr
    failed = next(item for item in json.loads(done.stdout)["properties"] if not item["passed"])
    assert failed["name"] == name
    assert word in failed["detail"]


def test_the_table_shows_what_failed_and_candidates_cannot_drive_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "paints.py").write_text("raise RuntimeError('\\x1b[31mred\\x07')\nclass TokenMixer: pass\n")
    done = check("paints.py", "--no-policy", "--scale", "tiny", folder=tmp_path)
    assert done.returncode == 1
    assert "contract              REFUSED" in done.stdout
    assert "red" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("refused in ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.py"], "nowhere.py cannot be read"),
        (["leak.py"], "--entry NAME"),
        (["leak.py", "--entry", "Sum"], "'Sum'"),
        (["leak.py", "--entry", "Mean", "--scale", "huge"], "no scale named 'huge'"),
        (["leak.py", "--entry", "Mean", "--deadline-s", "-1"], "deadline_s is -1"),
        ([], "usage"),
        (["leak.py", "--format", "xml"], "invalid choice"),
    ],
)
def test_wrong_usage_says_what_and_ends_with_2(tmp_path: Path, arguments: list[str], words: str) -> None:
    (tmp_path / "leak.py").write_text(LEAK)
    done = check(*arguments, folder=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_channel_mixer_is_checked_as_one_without_being_told(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(published_source("channel_mixer", "swiglu"))
    done = check("mine.py", "--format", "json", "--scale", "tiny", folder=tmp_path)
    assert done.returncode == 0
    assert "checked as a channel_mixer, since it defines ChannelMixer" in done.stderr
    assert "position_independence" in [item["name"] for item in json.loads(done.stdout)["properties"]]
