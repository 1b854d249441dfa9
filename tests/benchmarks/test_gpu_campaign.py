"""benchmarks/gpu_campaign: wheels in parts, what is run again, the report; all of it on a CPU where nightly."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu_campaign import PARTS, plan
from benchmarks.gpu_campaign.install import WheelsError, environment, install, join
from benchmarks.gpu_campaign.plan import Outcome, State, outcome_of, run_part, todo
from benchmarks.gpu_campaign.report import report, write_report
from benchmarks.gpu_campaign.setting import settings_for
from benchmarks.gpu_campaign.shared import USUAL, best_of, pool_for
from benchmarks.gpu_campaign.watching import read_line, watched
from benchmarks.gpu_campaign.wheels import name_of, needed, packed
from benchmarks.gpu_campaign.work import Unfinished, Work, carry_out

ROOT = Path(__file__).resolve().parents[2]
CARD = "a card"


def wheel(folder: Path, name: str, size: int = 0) -> Path:
    """A real wheel with one module of that name, which says 42."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{name}.py", f"answer = 42\nfill = {'x' * size!r}\n")
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return path


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Three wheels, the second of which does not fit one folder."""
    made = [wheel(tmp_path / "made", name, size) for name, size in (("one", 9), ("two", 5 << 20), ("three", 99))]
    return packed(made, tmp_path / "carried", 2 << 20)


def test_wheels_in_parts_are_joined_from_several_folders(folders: list[Path], tmp_path: Path) -> None:
    assert len(folders) == 3
    assert all(sum(path.stat().st_size for path in folder.iterdir()) <= 2 << 20 for folder in folders)
    joined = join(folders, tmp_path / "whole")
    assert [path.read_bytes() for path in joined] == [(tmp_path / "made" / path.name).read_bytes() for path in joined]
    assert len(joined) == 3


def test_a_folder_that_was_forgotten_is_told(folders: list[Path], tmp_path: Path) -> None:
    with pytest.raises(WheelsError, match=r"two-1\.0.*lacks part 1"):
        join([folders[0], folders[2]], tmp_path / "whole")
    with pytest.raises(WheelsError, match="in none of the folders"):
        join([folders[1]], tmp_path / "whole")
    with pytest.raises(WheelsError, match="which is no folder"):
        join([tmp_path / "nowhere"], tmp_path / "whole")


def test_a_last_part_that_is_missing_or_a_broken_one_is_seen_by_the_listing(
    folders: list[Path], tmp_path: Path
) -> None:
    last = max(folders[-1].glob("two*.part*"))
    last.write_bytes(last.read_bytes()[:-1] + b"!")
    with pytest.raises(WheelsError, match="not the file that was listed"):
        join(folders, tmp_path / "whole")
    last.unlink()
    with pytest.raises(WheelsError, match="not the file that was listed"):
        join(folders, tmp_path / "whole")


def test_wheels_without_a_listing_are_taken_as_they_are(tmp_path: Path) -> None:
    data = wheel(tmp_path, "one").read_bytes()
    (tmp_path / "a").mkdir()
    for number in range(12):  # ten comes after nine, not after one
        share = data[number * 40 : (number + 1) * 40] if number < 11 else data[440:]
        (tmp_path / "a" / f"one-1.0-py3-none-any.whl.part{number}").write_bytes(share)
    assert join([tmp_path / "a"], tmp_path / "whole")[0].read_bytes() == data


def test_what_is_installed_is_seen_beside_the_packages_of_the_box(tmp_path: Path) -> None:
    joined = join([wheel(tmp_path / "made", "the_answer").parent], tmp_path / "whole")
    python = environment(tmp_path / "venv")
    install(joined, python)
    code = "import the_answer, numpy, sys; print(the_answer.answer, the_answer.__file__, sys.prefix)"
    told = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert told[0] == "42"
    assert Path(told[1]).is_relative_to(tmp_path / "venv")
    joined[0].write_bytes(b"no wheel")
    with pytest.raises(WheelsError, match="pip could not install"):
        install(joined, environment(tmp_path / "other"))


def test_the_script_needs_the_standard_library_alone_before_it_installs() -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import benchmarks.gpu_campaign.__main__"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)  # -S: no site-packages


def test_bad_input_ends_with_one_line_and_exit_code_2(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu_campaign", "--out", str(tmp_path / "out")]
    for words, why in (
        (["--wheels", str(tmp_path / "nowhere")], "which is no folder"),
        (["--minutes", "0"], "give a number above 0"),
    ):
        done = subprocess.run([*command, *words], cwd=ROOT, capture_output=True, text=True)
        assert (done.returncode, why in done.stderr.splitlines()[-1]) == (2, True), done.stderr


def test_wheels_are_those_of_the_project_without_what_the_box_has_or_a_campaign_does_not_import() -> None:
    names = {name_of(requirement) for requirement in needed(["torch", "NumPy", "einops"])}
    assert {"ray", "duckdb", "hydra-core", "pyseccomp", "pystemmer"} <= names
    assert not {"torch", "numpy", "einops", "litellm", "wandb"} & names
    assert name_of("PyStemmer==3.1.0") == name_of("pystemmer") == "pystemmer"
    assert name_of("ray[tune]>=2.58") == "ray"


def test_wheels_do_not_overwrite_what_is_there(tmp_path: Path) -> None:
    made = [wheel(tmp_path / "made", "one")]
    with pytest.raises(ValueError, match="not empty"):
        packed(made, tmp_path / "made", 2 << 20)
    with pytest.raises(ValueError, match="--folder-mib"):
        packed(made, tmp_path / "out", 1 << 10)


def outcome(part: str, state: State = State.measured, **changes: Any) -> Outcome:
    return replace(Outcome(part=part, device=CARD, state=state, seconds=3.0), **changes)


def test_what_was_measured_on_this_device_is_left_alone(tmp_path: Path) -> None:
    assert todo(tmp_path, CARD, None) == list(PARTS)
    outcome("child").write(tmp_path)
    outcome("compile", State.failed).write(tmp_path)
    outcome("memory", State.unfinished).write(tmp_path)
    outcome("cost", device="another card").write(tmp_path)
    (tmp_path / "parts" / "shared.json").write_text('{"part": "sha')
    assert todo(tmp_path, CARD, None) == list(PARTS[1:])
    assert todo(tmp_path, CARD, ["cost", "child"]) == ["child", "cost"]


def test_how_a_part_ends_is_written_with_the_figures_so_far(tmp_path: Path) -> None:
    def stops(how: BaseException | None) -> Outcome | None:
        def measure(told: Work) -> None:
            told.note(speed=1)
            assert (found := outcome_of(tmp_path, "cost", CARD)) is not None
            assert (found.state, found.figures) == (State.unfinished, {"speed": 1})
            if how is not None:
                raise how

        told = Work(part="cost", device="cpu", name=CARD, out=tmp_path, seconds=60.0)
        assert carry_out(measure, told) == int(isinstance(how, ValueError))
        return outcome_of(tmp_path, "cost", CARD)

    for how, state, detail in (
        (None, State.measured, ""),
        (Unfinished("two more"), State.unfinished, "two more"),
        (ValueError("no card"), State.failed, "ValueError: no card"),
    ):
        found = stops(how)
        assert found is not None
        assert (found.state, found.detail, found.figures) == (state, detail, {"speed": 1})


def test_a_part_that_is_killed_keeps_what_it_had_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> dict[str, Any]:
        Work(part="cost", device="cpu", name=CARD, out=tmp_path, seconds=60.0).note(speed=1)
        return {"failed": "took longer than 60 s", "seconds": 60.0}

    monkeypatch.setattr(plan, "run_piece", killed)
    found = run_part(tmp_path, "cost", "cpu", CARD, 60.0)
    assert found == outcome_of(tmp_path, "cost", CARD)
    assert (found.state, found.detail, found.figures) == (State.failed, "took longer than 60 s", {"speed": 1})
    monkeypatch.setattr(plan, "run_piece", lambda *_: {"failed": "took longer than 9 s", "seconds": 9.0})
    found = run_part(tmp_path, "cost", "cpu", CARD, 9.0)  # killed before it wrote anything: not its earlier end
    assert (found.state, found.detail, found.figures) == (State.failed, "took longer than 9 s", {"speed": 1})


def test_a_part_that_has_more_to_do_ends_unfinished(tmp_path: Path) -> None:
    """In a process of its own, as ever; a campaign is not begun for seconds."""
    found = run_part(tmp_path, "campaign", "cpu", CARD, 20.0)
    assert found.state is State.unfinished
    assert "too little to begin" in found.detail
    assert todo(tmp_path, CARD, None) == list(PARTS)


def test_parts_for_which_no_time_is_left_are_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []
    monkeypatch.setattr(plan, "run_part", lambda out, part, *_: begun.append(part) or outcome(part))
    monkeypatch.setattr(plan, "device_name", lambda device: CARD)
    plan.run_parts(tmp_path, "cuda", time.time() + 70, None)
    assert begun == ["child", "compile", "memory", "cost"]  # the others take longer than what is left


def test_the_report_says_of_every_part_whether_it_was_run(tmp_path: Path) -> None:
    assert report(dict.fromkeys(PARTS)).count("Not yet run.") == len(PARTS)
    outcome("memory", State.failed, detail="RuntimeError: it lived on | so it did").write(tmp_path)
    by_number = {
        str(num): {"candidates_per_hour": hourly, "slot_s": 2.0, "usage": {"idle_share": 0.5}, "failed": []}
        for num, hourly in ((1, 100.0), (4, 250.0))
    }
    outcome("shared", State.unfinished, detail="8 at once", figures={"by_number": by_number, "best": 4}).write(tmp_path)
    text = write_report(tmp_path).read_text()
    assert "| `child` | not yet run |" in text
    assert "| `memory` | failed | 3 | RuntimeError: it lived on \\| so it did |" in text
    assert "Best: **4** at once, 2.50 times one after another." in text
    assert "Unfinished: 8 at once" in text
    assert "stood in" not in text
    outcome("child", device="CPU in a GPU's place: x").write(tmp_path)
    assert "nothing here is proven on a GPU" in write_report(tmp_path).read_text()


def test_shares_fill_a_card_and_the_best_number_is_the_one_with_most_candidates() -> None:
    for num in (1, 2, 3, 4, 8, 12):
        pool = pool_for("cuda", num)
        assert pool.fitting({"CPU": 16, "GPU": 1}) == num
    assert best_of({}, "cuda") == USUAL["cuda"]
    by_number = {
        "1": {"candidates_per_hour": 9.0},
        "8": {"candidates_per_hour": 20.0},
        "12": {"candidates_per_hour": 3},
    }
    assert best_of({"by_number": by_number}, "cuda") == 8


def test_both_settings_are_campaigns_with_a_larger_verification() -> None:
    for device in ("cuda", "cpu"):
        settings = settings_for(device)
        explore, verify = settings.scale.stages
        assert settings.data.vocab_size is not None
        assert settings.data.vocab_size <= explore.size.vocab_size
        assert verify.size.num_layers > explore.size.num_layers
        assert settings.llm.every_model == ()
        assert len(settings.campaign.founders) == 13


def test_what_nvidia_smi_says_is_read() -> None:
    assert read_line("37, 1000\n") == (37.0, pytest.approx(1.048576))
    with pytest.raises(ValueError, match="could not convert"):
        read_line("[N/A], 1000\n")


def test_processors_are_watched_in_a_cards_place() -> None:
    with watched("cpu") as usage:
        while not usage.busy:
            time.sleep(0.05)
    figures = usage.as_figures()
    assert 0 <= figures["idle_share"] <= 1


@pytest.mark.nightly
@pytest.mark.timeout(1_800)
def test_all_of_it_runs_on_a_cpu_and_only_once(tmp_path: Path) -> None:
    """Minutes: a compiler, a Ray for each of two parts, a campaign of 17 candidates."""
    command = [sys.executable, "-m", "benchmarks.gpu_campaign", "--out", str(tmp_path), "--device", "cpu"]
    first = subprocess.run([*command, "--minutes", "25"], cwd=ROOT, capture_output=True, text=True)
    assert first.returncode == 0, first.stdout[-3_000:] + first.stderr[-3_000:]
    for part in PARTS:
        found = json.loads((tmp_path / "parts" / f"{part}.json").read_text())
        assert found["state"] == "measured", (part, found["detail"])
    again = subprocess.run([*command, "--minutes", "1"], cwd=ROOT, capture_output=True, text=True)
    assert again.returncode == 0
    assert "==" not in again.stdout
    text = (tmp_path / "report.md").read_text()
    assert "not yet run" not in text
    assert "Best: **" in text
