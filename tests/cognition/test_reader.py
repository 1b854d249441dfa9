from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from cognition import schema
from cognition.folders import Folder
from cognition.fragments import write_fragment
from cognition.manifest import Manifest, read_manifest, write_manifest
from cognition.reader import Reader
from cognition.records import ClaimState, Event, Trial
from cognition.schema import encode
from cognition.store import Store
from tests.cognition.factories import (
    lineage_of,
    make_candidate,
    make_claim,
    make_event,
    make_metric,
    make_trial,
    make_verdict,
)


def ask(folder: Folder, sql: str) -> list[dict[str, Any]]:
    result = Reader(folder).query(sql)
    return [dict(zip(result.columns, row, strict=True)) for row in result.rows]


def test_tables_without_rows_are_empty_typed_views(folder: Folder) -> None:
    Store.open(folder).close()
    with Reader(folder).connect() as connection:
        for table in schema.TABLES:
            assert connection.execute(f"SELECT * FROM {table}").fetchall() == []
        columns = dict(connection.execute("SELECT column_name, column_type FROM (DESCRIBE trials)").fetchall())
        views = connection.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()
        for (view,) in views:
            assert connection.execute(f"SELECT * FROM {view}").fetchall() == []
    assert columns["seed"] == "BIGINT"
    assert {"lineage", "leaderboard", "funnel", "arms", "curves", "properties", "scores"} <= {view for (view,) in views}


def test_views_over_rows_have_the_types_of_the_schema(stored: tuple[Folder, list[Any]]) -> None:
    with Reader(stored[0]).connect() as connection:
        for table, record_type in schema.TABLES.items():
            found = connection.execute(f"SELECT column_name, column_type FROM (DESCRIBE {table})").fetchall()
            assert found == [(column.name, schema.sql_type(column)) for column in schema.columns_of(record_type)]


def test_lineage_follows_first_parents_to_the_founder(stored: tuple[Folder, list[Any]]) -> None:
    founder, child, grandchild = (make_candidate(number).candidate_id for number in range(3))
    rows = {row["number"]: row for row in ask(stored[0], "SELECT * FROM lineage")}
    assert (rows[0]["depth"], rows[0]["parent_id"], rows[0]["ancestors"]) == (0, None, [])
    assert (rows[1]["depth"], rows[1]["parent_id"], rows[1]["ancestors"]) == (1, founder, [founder])
    assert (rows[2]["depth"], rows[2]["candidate_id"], rows[2]["ancestors"]) == (2, grandchild, [child, founder])


def test_a_candidate_whose_parent_was_set_aside_becomes_a_founder(folder: Folder) -> None:
    lost = make_candidate(0)
    with Store.open(folder) as store:
        store.append(make_candidate(1, parent=lost))
    assert [(row["depth"], row["parent_id"]) for row in ask(folder, "SELECT * FROM lineage")] == [(0, None)]


def test_leaderboard_ranks_by_fitness_with_what_was_verified(stored: tuple[Folder, list[Any]]) -> None:
    rows = ask(stored[0], "SELECT * FROM leaderboard")
    assert [(row["rank"], row["number"], row["fitness"]) for row in rows] == [(1, 2, 0.9), (2, 1, 0.7), (3, 0, 0.5)]
    best, _, baseline = rows
    assert (best["name"], best["arm"], best["loss"], best["num_parameters"]) == ("mixer-2", "grammar", 2.3, 1002)
    assert (best["verified_mean"], best["verified_std"], best["verified_difference"]) == (2.2, 0.02, -0.1)
    assert (baseline["verified_mean"], baseline["num_trials"]) == (None, 2)
    assert baseline["benchmark"] == pytest.approx(0.5), "what was judged, whatever other seeds gave"


def test_what_is_verified_is_the_last_revision_against_the_baseline_that_decides(folder: Folder) -> None:
    candidate, easy, hard = make_candidate(2), make_candidate(0, arm="baseline"), make_candidate(1, arm="baseline")
    first = make_claim(candidate, hard, difference=-0.3)
    last = replace(
        first,
        revision=2,
        num_seeds=4,
        difference=-0.1,
        state=ClaimState.discovery,
        e_value=90.0,
        gap=0.2,
        promised=-0.3,
    )
    other = replace(make_claim(candidate, easy), deciding=False, revision=3, e_value=10.0, gap=9.0, promised=-9.1)
    with Store.open(folder) as store:
        store.append(candidate, easy, hard, last, make_verdict(candidate, 0.5))
        store.append(first, other)
    (row,) = ask(folder, "FROM verified")
    assert (row["number"], row["name"], row["baseline"], row["state"]) == (2, "mixer-2", "mixer-1", "discovery")
    assert (row["num_seeds"], row["difference"], row["e_value"]) == (4, -0.1, 90.0)
    (curse,) = ask(folder, "FROM winners_curse")
    assert (curse["stage"], curse["num_candidates"], curse["mean_gap"], curse["num_less"]) == ("verify", 1, 0.2, 1)
    (best,) = ask(folder, "SELECT verified_state, verified_seeds FROM leaderboard")
    assert (best["verified_state"], best["verified_seeds"]) == ("discovery", 4)
    assert ask(folder, "SELECT outcome, num FROM funnel WHERE step = 'claim verify'") == [
        {"outcome": "discovery", "num": 1}
    ]


def test_leaderboard_shows_the_best_verdict_of_a_candidate_once(folder: Folder) -> None:
    candidate = make_candidate(1)
    with Store.open(folder) as store:
        store.append(candidate, make_verdict(candidate, 0.3))
        later = make_verdict(candidate, 0.8)
        store.append(type(later)(candidate_id=later.candidate_id, number=1, stage="verify", fitness=0.8))
        store.append(type(later)(candidate_id="unknown", number=9, stage="explore", fitness=float("nan")))
    assert [(row["fitness"], row["stage"]) for row in ask(folder, "SELECT * FROM leaderboard")] == [(0.8, "verify")]


def test_funnel_counts_every_outcome(stored: tuple[Folder, list[Any]]) -> None:
    counts = {(row["step"], row["outcome"]): row["num"] for row in ask(stored[0], "SELECT * FROM funnel")}
    assert counts == {
        ("proposed", "baseline"): 1,
        ("proposed", "grammar"): 2,
        ("proposed", "random"): 2,
        ("report", "passed"): 4,
        ("report", "refused"): 1,
        ("trial explore", "finished"): 4,
        ("trial explore", "failed: nonfinite"): 1,
        ("verdict explore", "scored"): 3,
        ("verdict explore", "no score"): 1,
        ("claim verify", "undecided"): 1,
    }


def test_arms_are_compared_at_what_they_cost(stored: tuple[Folder, list[Any]]) -> None:
    rows = {row["arm"]: row for row in ask(stored[0], "SELECT * FROM arms")}
    assert (rows["grammar"]["num_candidates"], rows["grammar"]["num_passed"]) == (2, 2)
    assert rows["grammar"]["best_fitness"] == 0.9
    assert rows["grammar"]["mean_fitness"] == pytest.approx(0.8)
    assert (rows["baseline"]["num_trials_finished"], rows["baseline"]["slot_s"]) == (2, 72.0)
    random_arm = rows["random"]
    assert (random_arm["num_passed"], random_arm["num_trials_failed"], random_arm["slot_s"]) == (1, 1, 4.0)
    assert rows["grammar"]["slot_s"] == 20.0, "trials count where there are no charges"
    assert random_arm["best_fitness"] is None


def test_spend_counts_every_attempt_and_what_was_in_vain(stored: tuple[Folder, list[Any]]) -> None:
    spend = {(r["stage"], r["arm"], r["outcome"]): r for r in ask(stored[0], "SELECT * FROM spend")}
    assert set(spend) == {
        ("explore", "baseline", "finished"),
        ("explore", "random", "failed"),
        ("explore", "random", "lost"),
    }
    assert spend["explore", "baseline", "finished"]["num_attempts"] == 2
    assert spend["explore", "baseline", "finished"]["slot_hours"] == pytest.approx(0.02)
    assert spend["explore", "baseline", "finished"]["gpu_hours"] == pytest.approx(0.005)
    dearest, failed = ask(stored[0], "SELECT * FROM candidate_spend")
    assert (dearest["number"], dearest["num_in_vain"], dearest["slot_hours_in_vain"]) == (0, 0, 0.0)
    assert (failed["number"], failed["num_attempts"], failed["num_in_vain"]) == (4, 2, 2)
    assert failed["slot_hours"] == failed["slot_hours_in_vain"] == pytest.approx(4 / 3600)
    assert failed["gpu_hours"] == pytest.approx(6 / 3600)


def test_curves_show_the_last_report_of_a_point_even_after_merging(stored: tuple[Folder, list[Any]]) -> None:
    folder, _ = stored
    assert [row["loss"] for row in ask(folder, "SELECT * FROM curves")] == [3.0, 2.75]
    trial = make_trial(make_candidate(1))
    with Store.open(folder, merge_above=1) as store:
        store.append(make_metric(trial, 1, loss=1.5))
        store.append(make_metric(trial, 1, loss=1.25))
    assert [row["loss"] for row in ask(folder, "SELECT * FROM curves WHERE step = 1")] == [1.25]


def test_nested_values_are_rows_of_their_own_views(stored: tuple[Folder, list[Any]]) -> None:
    rows = ask(stored[0], "SELECT number, name, passed, figure, detail FROM properties WHERE number = 3")
    assert [(row["name"], row["passed"]) for row in rows] == [("causality", True), ("cost", False)]
    assert (rows[1]["figure"], rows[1]["detail"]) == (float("inf"), 'it "grew"')
    scores = ask(stored[0], "SELECT DISTINCT name, num_items FROM scores")
    assert scores == [{"name": "loss", "num_items": 64}]


def test_a_reader_sees_what_was_appended_since(folder: Folder) -> None:
    with Store.open(folder) as store:
        reader = Reader(folder)
        assert reader.rows(Event) == []
        store.append(make_event(1))
        assert reader.query("SELECT count(*) FROM events").rows == [(1,)]
        store.append(make_event(2))
        assert len(reader.rows(Event)) == 2


def test_an_open_connection_outlives_a_merge_by_the_grace_period(tmp_path: Path, clock: Any) -> None:
    store = Store.open(tmp_path, grace_s=120, clock=clock)
    store.append(make_event(1))
    store.append(make_event(2))
    with Reader(tmp_path).connect() as connection:
        store.merge(above=1)
        assert connection.execute("SELECT count(*) FROM events").fetchall() == [(2,)]
        clock.seconds += 121
        store.append(make_event(3))
        with pytest.raises(duckdb.Error):
            connection.execute("SELECT count(*) FROM events").fetchall()


def test_files_that_vanish_during_a_read_are_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(tmp_path, grace_s=0)
    store.append(make_event(1))
    store.append(make_event(2))
    reader = Reader(tmp_path)
    snapshots = 0
    real = Reader._snapshot

    def merged_behind_its_back(self: Reader, only: str | None) -> Any:
        nonlocal snapshots
        snapshot = real(self, only)
        snapshots += 1
        if snapshots in (1, 3):
            store.append(make_event(10 * snapshots))
            store.append(make_event(10 * snapshots + 1))
            store.merge(above=1)
            store.append(make_event(10 * snapshots + 2))  # publishes again: what was merged away is deleted now
        return snapshot

    monkeypatch.setattr(Reader, "_snapshot", merged_behind_its_back)
    assert reader.query("SELECT count(*) FROM events").rows == [(5,)]
    assert len(reader.rows(Event)) == 8
    assert reader.retries == 2
    assert reader.skipped == ()


def test_a_damaged_fragment_is_named_and_the_rest_is_read(stored: tuple[Folder, list[Any]]) -> None:
    folder, records = stored
    victim = read_manifest(lineage_of(folder)).tables["trials"][0]
    lineage_of(folder).write(victim.file, lineage_of(folder).read(victim.file)[:-1])
    reader = Reader(folder)
    trials = [record for record in records if isinstance(record, Trial)]
    assert reader.rows(Trial) == trials[victim.rows :]
    [skipped] = reader.skipped
    assert (skipped.file, skipped.rows) == (victim.file, victim.rows)
    assert "corrupt" in skipped.reason
    assert reader.query("SELECT count(*) FROM trials").rows == [(len(trials) - victim.rows,)]


def test_damage_after_the_first_read_is_noticed(campaign: tuple[Path, list[Any]]) -> None:
    folder, _ = campaign
    reader = Reader(folder)
    before = len(reader.rows(Trial))
    victim = read_manifest(folder / "lineage").tables["trials"][0]
    (folder / "lineage" / victim.file).unlink()
    assert len(reader.rows(Trial)) == before - victim.rows
    assert [skipped.reason for skipped in reader.skipped] == ["missing"]


def test_a_mistake_in_sql_is_raised_at_once(stored: tuple[Folder, list[Any]]) -> None:
    reader = Reader(stored[0])
    with pytest.raises(duckdb.CatalogException):
        reader.query("SELECT * FROM nothing")
    assert reader.retries == 0


def test_fragments_of_an_older_version_are_filled_up(stored: tuple[Folder, list[Any]]) -> None:
    folder, records = stored
    add_fragment(folder, "events", encode(Event, [make_event(7)]).drop_columns(["detail"]), digest="older")
    assert Reader(folder).rows(Event)[-1] == make_event(7)
    assert ask(folder, "SELECT detail FROM events WHERE event_id = 'event-7'") == [{"detail": None}]
    with Store.open(folder, merge_above=1) as store:
        assert store.has(Event, "event-7")
        store.append(make_event(8))
        store.append(make_event(9))
    events = [record for record in records if isinstance(record, Event)]
    assert Reader(folder).rows(Event) == [*events, make_event(7), make_event(8), make_event(9)]


def test_a_table_of_a_later_version_is_kept_and_can_be_read(stored: tuple[Folder, list[Any]]) -> None:
    folder, _ = stored
    lineage_of(folder).create("patents")
    add_fragment(folder, "patents", pa.table({"title": ["Gated attention"]}), digest="later")
    with Store.open(folder) as store:
        store.append(make_event(7))
        assert store.set_aside == ()
    assert ask(folder, "SELECT * FROM patents") == [{"title": "Gated attention"}]


def add_fragment(folder: Folder, table: str, rows: pa.Table, *, digest: str) -> None:
    """What another version of this store would have appended."""
    lineage = lineage_of(folder)
    manifest = read_manifest(lineage)
    number = manifest.next_fragment
    fragment = write_fragment(lineage, f"{table}/{number:010d}-0.parquet", rows, level=0, digest=digest)
    tables = {**manifest.tables, table: (*manifest.tables.get(table, ()), fragment)}
    write_manifest(lineage, Manifest(generation=manifest.generation + 1, next_fragment=number + 1, tables=tables))


@pytest.mark.parametrize("name", ["run [1]", "it's*here?", "plain"])
def test_any_folder_name_can_be_read(tmp_path: Path, name: str) -> None:
    with Store.open(tmp_path / name) as store:
        store.append(make_event(1))
        store.append(make_event(2))
    assert Reader(tmp_path / name).query("SELECT count(*) FROM events").rows == [(2,)]


def test_a_missing_run_or_lineage_says_what_to_give(folder: Folder) -> None:
    with pytest.raises(ValueError, match=r"no run folder .*nowhere\S*; give the folder"):
        Reader(folder.within("nowhere"))
    folder.create()
    folder.write("config.yaml", b"")
    with pytest.raises(ValueError, match=r"has no manifest; give the folder"):
        Reader(folder)


def test_a_reader_in_another_thread_never_sees_half_a_commit(folder: Folder) -> None:
    store = Store.open(folder, merge_above=2, grace_s=0)
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            candidate = make_candidate(number)
            store.append(candidate, make_verdict(candidate, 0.5))
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    reader = Reader(folder)
    try:
        for _ in range(15):
            sql = "SELECT (SELECT count(*) FROM candidates), (SELECT count(*) FROM verdicts)"
            [(candidates, verdicts)] = reader.query(sql).rows
            assert candidates == verdicts
    finally:
        stop.set()
        writer.join()


def test_three_seconds_beside_a_merging_writer_fail_no_read() -> None:
    root = Path(__file__).parents[2]
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.store_readers", "--seconds", "3"],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ", 0 failed," in ran.stdout
