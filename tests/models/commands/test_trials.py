"""`train` and `rank`: real trials in real children, at the tiny scale."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cognition.records import Metric
from models.__main__ import main
from models.commands import bench, rank, train
from models.commands.mixers import named
from models.commands.trials import require_backend
from models.data import DataSpec
from models.scale import load_scale
from models.slots import published_source, slot_named

TINY = ["--scale", "tiny", "--data", "stdlib", "max_bytes=1500000"]


def test_train_shows_the_curve_and_writes_the_trial(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "trial.json"
    assert main(["train", "--mixer", "retnet", *TINY, "--steps", "8", "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "retnet: 8 steps of 4 x 32 tokens" in shown
    assert "(chance 0.500)" in shown
    told = json.loads(out.read_text())
    assert told["trial"]["status"] == "finished"
    assert [point["step"] for point in told["curve"] if point["task"] == "text"] == [4, 8]
    scores = {score["name"]: score["value"] for score in told["trial"]["scores"]}
    assert 4 < scores["loss"] < 7
    assert scores["loss"] == told["trial"]["loss"]


def test_a_mixer_that_fails_is_said_and_counts_as_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "broken.py"
    file.write_text("class TokenMixer:\n    pass\n")
    assert main(["train", "--mixer", str(file), *TINY]) == 1
    assert "error: " in capsys.readouterr().out


def test_rank_trains_what_is_missing_and_keeps_what_it_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["rank", *TINY, "--probes", "none", "--workers", "2", "--results", str(tmp_path)]
    assert main([*arguments, "--mixers", "retnet", "--seeds", "1"]) == 0
    assert "1 of 1 trials to train" in capsys.readouterr().out
    assert main([*arguments, "--mixers", "retnet", "softmax_attention", "--seeds", "2"]) == 0
    second = capsys.readouterr().out
    assert "3 of 4 trials to train" in second
    assert "gate: cost" in next(line for line in second.splitlines() if line.startswith("softmax_attention"))
    row = next(line for line in second.splitlines() if line.startswith("retnet"))
    assert "+-" in row
    path = tmp_path / "tiny.jsonl"
    path.write_text(path.read_text() + '{"half a li')
    assert main([*arguments, "--mixers", "retnet", "--seeds", "2"]) == 0
    third = capsys.readouterr()
    assert "0 of 2 trials to train" in third.out
    assert row in third.out
    assert "a line that is no result is left out" in third.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--mixer", "mamba3"], "'mamba3' is no mixer"),
        (["train", "--mixer", "retnet", "--scale", "huge"], "no scale named 'huge'"),
        (["train", "--mixer", "retnet", "--scale", "auto"], "no scale named 'auto'"),
        (["rank", "--scale", "../scale/tiny"], "no scale named '../scale/tiny'"),
        (["check", "models/baselines/retnet.py", "--scale", "../scale/tiny"], "no scale named '../scale/tiny'"),
        (["bench", "--slot", "channel_mixer", "--ffn-width", "0"], "--ffn-width is 0; give 1 or more"),
        (["bench", "--slot", "channel_mixer", "--ffn-width", "12"], "ffn_width is 12; widths go in steps of 8"),
        (
            ["bench", "--mixers", "rwkv7", "--hidden-size", "3", "--num-heads", "3", "--lengths", "8"],
            "rwkv7 does not run at --hidden-size 3 with --num-heads 3 (Expected more than 1 value per channel",
        ),
        (["rank", "--json", "/proc/nowhere.json"], "/proc/nowhere.json cannot be written"),
        (["train", "--mixer", "retnet", "--stage", "final"], "--stage is 'final'; scale cpu has explore, verify"),
        (["train", "--mixer", "retnet", "--steps", "0"], "steps is 0"),
        (["train", "--mixer", "retnet", "--processes", "3"], "is 16, not a multiple of the 3 processes"),
        (["train", "--mixer", "retnet", "--data", "nowhere"], "no data named 'nowhere'"),
        (["rank", "--probes", "chess"], r"--probes has 'chess'"),
        (["rank", "--seeds", "0"], "--seeds is 0"),
        (["train", "--mixer", "retnet", "--seed", "-1"], "--seed is -1; give 0 to 2147483647"),
        (["bench", "--lengths", "8", "0"], "--lengths[1] is 0; give 1 or more"),
        (["bench", "--hidden-size", "10", "--num-heads", "3"], "not a multiple of num_heads 3"),
        (["bench", "--out", "/proc"], "/proc cannot be written"),
        (["pack", "--processes", "0"], "--processes is 0"),
        (["rank", "--results", "/proc/nowhere"], "/proc/nowhere/cpu.jsonl cannot be written"),
        (["train", "--mixer", "retnet", "--out", "/proc/nowhere.json"], "/proc/nowhere.json cannot be written"),
        (["bench", "--mixers", "tests/models/fla_style/gated_delta.py"], "name published mixers only"),
    ],
)
def test_bad_arguments_are_answered_with_the_remedy(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert not shown.out


@pytest.mark.parametrize("command", [["train", "--mixer", "retnet"], ["rank"], ["bench"], ["check", "no.py"]])
def test_an_unknown_backend_is_said_at_the_start(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KERNELS_BACKEND", "torch,fast")
    assert main(command) == 2
    shown = capsys.readouterr()
    assert "'fast' is no backend: use some of definition, torch" in shown.err
    assert not shown.out
    monkeypatch.setenv("KERNELS_BACKEND", "triton, torch")
    require_backend()


def test_rank_writes_its_table_with_machine_and_versions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "rank.json"
    broken = tmp_path / "broken.py"
    broken.write_text("class TokenMixer:\n    pass\n")
    arguments = ["rank", *TINY, "--probes", "none", "--results", str(tmp_path / "kept"), "--json", str(out)]
    assert main([*arguments, "--mixers", str(broken), "retnet", "linear_attention", "--seeds", "2"]) == 0
    told = json.loads(out.read_text())
    assert {"cpu", "cores", "date", "versions"} <= told["machine"].keys()
    rows = told["figures"]["rows"]
    shown = [line.split()[0] for line in capsys.readouterr().out.splitlines() if "+-" in line or "gate:" in line]
    assert [row["mixer"] for row in rows] == shown
    assert [row["mixer"] for row in rows][2] == "broken"
    losses = rows[0]["values"]["loss"]
    assert rows[0]["mean"]["loss"] == pytest.approx(sum(losses) / 2)
    assert rows[0]["spread"]["loss"] == pytest.approx(abs(losses[0] - losses[1]) / 2**0.5)
    assert rows[2]["problem"].startswith("gate: ")
    assert rows[2]["values"] == {}


def test_bench_measures_every_length(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "bench.json"
    sizes = ["--lengths", "8", "40", "--tokens", "64", "--hidden-size", "32", "--num-heads", "2", "--repeats", "1"]
    assert main(["bench", "--mixers", "delta_net", "softmax_attention", *sizes, "--out", str(out)]) == 0
    rows = json.loads(out.read_text())
    assert [(row["mixer"], row["length"], row["batch"]) for row in rows] == [
        ("delta_net", 8, 8),
        ("delta_net", 40, 1),
        ("softmax_attention", 8, 8),
        ("softmax_attention", 40, 1),
    ]
    assert [row["state_bytes"] for row in rows] == [3200, 3200, 8 * 32 * 2 * 4, 40 * 32 * 2 * 4]
    assert all(row["train_tokens_s"] > 0 and row["decode_tokens_s"] > 1 for row in rows)
    assert len(capsys.readouterr().out.splitlines()) == 6


def test_bench_builds_channel_mixers_at_their_own_width(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    widths = []
    build = bench.candidate_layer

    def noted(slot, candidate, size, ffn_width, layer):
        module = build(slot, candidate, size, ffn_width, layer)
        widths.append({parameter.shape[0] for parameter in module.parameters()})
        return module

    monkeypatch.setattr(bench, "candidate_layer", noted)
    arguments = ["bench", "--slot", "channel_mixer", "--mixers", "swiglu", "--lengths", "4", "--hidden-size", "32"]
    assert main([*arguments, "--num-heads", "2", "--repeats", "1"]) == 0
    assert widths == [{32, 88}] * 2  # tried, then measured


def test_results_belong_to_the_code_that_made_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slot, stage = slot_named("token_mixer"), load_scale("tiny").stages[0]
    mixer, data = named(slot, "retnet"), DataSpec(max_bytes=300_000)
    before = rank._job(mixer, slot.name, stage, 0, data, "cpu").trial_id
    assert before == rank._job(mixer, slot.name, stage, 0, data, "cpu").trial_id
    monkeypatch.setattr(rank, "code_digest", lambda: "other")
    assert before != rank._job(mixer, slot.name, stage, 0, data, "cpu").trial_id


def test_a_mixer_named_twice_is_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "copy.py"
    copy.write_text(published_source("token_mixer", "retnet"))
    arguments = ["rank", *TINY, "--probes", "none", "--seeds", "1", "--results", str(tmp_path / "out")]
    assert main([*arguments, "--mixers", "retnet", "RetNet", str(copy)]) == 0
    shown = capsys.readouterr().out
    assert "1 of 1 trials to train" in shown
    assert "+-" not in shown


RATES = {"grad_norm": 1.0, "learning_rate": 1e-3}


def test_speed_is_that_between_two_points_of_a_task() -> None:
    def point(step: int, elapsed_s: float) -> Metric:
        return Metric(trial_id="t", task="text", step=step, loss=1.0, tokens=100 * step, elapsed_s=elapsed_s, **RATES)

    assert train._speed(None, point(1, 50.0)) == ""
    assert train._speed(point(1, 50.0), point(3, 52.0)) == "100 tokens/s"
