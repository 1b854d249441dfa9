from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cognition.__main__ import main
from cognition.manifest import read_manifest
from cognition.store import Store
from tests.cognition.factories import make_event


def sql(capsys: pytest.CaptureFixture[str], run: Path, statement: str, *more: str) -> tuple[int, str, str]:
    code = main(["sql", statement, "--run", str(run), *more])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_table_is_aligned_and_counted(campaign: tuple[Path, list[Any]], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = sql(capsys, campaign[0], "SELECT name, fitness, verified_mean FROM leaderboard LIMIT 2")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "name     fitness  verified_mean",
        "-------  -------  -------------",
        "mixer-2      0.9            2.2",
        "mixer-1      0.7              -",
        "(2 rows)",
    ]


def test_long_cells_and_line_breaks_stay_on_one_line(
    campaign: tuple[Path, list[Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = sql(capsys, campaign[0], "SELECT source || repeat('x', 100) AS s, motivation FROM candidates LIMIT 1")
    assert len(out.splitlines()) == 4
    assert "... " in out


def test_json_holds_lists_and_null_for_what_json_cannot_say(
    campaign: tuple[Path, list[Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    statement = "SELECT number, ancestors, 'nan'::DOUBLE AS gone, DATE '2025-01-02' AS day FROM lineage LIMIT 2"
    code, out, _ = sql(capsys, campaign[0], statement, "--format", "json")
    rows = json.loads(out)
    assert code == 0
    assert rows[0] == {"number": 0, "ancestors": [], "gone": None, "day": "2025-01-02"}
    assert len(rows[1]["ancestors"]) == 1


def test_csv_reads_back(campaign: tuple[Path, list[Any]], capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = sql(capsys, campaign[0], "SELECT motivation, changes FROM candidates LIMIT 1", "--format", "csv")
    rows = list(csv.reader(io.StringIO(out)))
    assert rows == [["motivation", "changes"], ["a gate, said 'so'; the state\nforgets", '["gate: none -> sigmoid"]']]


def test_a_statement_without_an_answer_prints_nothing(
    campaign: tuple[Path, list[Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert sql(capsys, campaign[0], "")[:2] == (0, "")


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("SELECT * FROM leaderbord", "leaderbord does not exist; tables and views: ablations, arms, calibrations, "),
        ("SELECT fitnes FROM verdicts", '"fitnes" not found in FROM clause; Candidate bindings: "fitness"'),
        ("SELEC 1", 'syntax error at or near "SELEC"'),
        ("SELECT 'x'::INT", "Could not convert string 'x' to INT32"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_two(
    campaign: tuple[Path, list[Any]], capsys: pytest.CaptureFixture[str], statement: str, said: str
) -> None:
    code, out, err = sql(capsys, campaign[0], statement)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert err.startswith("error: ")
    assert said in err


def test_a_missing_run_is_one_line_and_exit_code_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = sql(capsys, tmp_path / "typo", "SELECT 1")
    assert (code, out) == (2, "")
    assert err == f"error: no run folder {tmp_path / 'typo'}; give the folder of a campaign, runs/<name>\n"


def test_a_damaged_fragment_is_warned_about(
    campaign: tuple[Path, list[Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = campaign
    victim = read_manifest(folder / "lineage").tables["events"][0]
    (folder / "lineage" / victim.file).write_bytes(b"PAR1")
    code, out, err = sql(capsys, folder, "SELECT count(*) AS num FROM events", "--format", "csv")
    assert (code, out) == (0, "num\n0\n")
    assert err.startswith(f"warning: left out {victim.file} (1 rows): corrupt: 4 bytes")


def test_another_process_queries_while_the_store_is_open(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.append(make_event(1))
        ran = subprocess.run(
            [sys.executable, "-m", "cognition", "sql", "FROM events", "--run", str(tmp_path), "--format", "csv"],
            capture_output=True,
            text=True,
            timeout=240,
        )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "event-1,intent,propose/1" in ran.stdout


def test_a_reader_that_stops_listening_is_no_error(tmp_path: Path) -> None:
    Store.open(tmp_path).close()
    command = [sys.executable, "-m", "cognition", "sql", "SELECT repeat('x', 90) FROM range(100000)"]
    with subprocess.Popen(
        [*command, "--run", str(tmp_path), "--format", "csv"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=240) == 0
