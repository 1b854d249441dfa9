from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

from cognition import reader as reading
from cognition import views
from cognition.folders import Folder
from cognition.manifest import read_manifest
from cognition.reader import Reader
from cognition.records import Trial
from cognition.store import Store
from tests.cognition.factories import make_candidate, make_event, make_verdict

BOARD = "SELECT * FROM leaderboard"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows whenever views are made."""
    made: list[int] = []
    real = views.open_views

    def counted(lineage: Path, tables: Any) -> duckdb.DuckDBPyConnection:
        made.append(len(made))
        return real(lineage, tables)

    monkeypatch.setattr(views, "open_views", counted)
    monkeypatch.setattr(reading, "open_views", counted)
    return made


def test_queries_of_one_state_share_its_views(stored: tuple[Folder, list[Any]], opened: list[int]) -> None:
    folder, _ = stored
    reader = Reader(folder)
    for sql in (BOARD, "FROM funnel", "WITH best AS (FROM leaderboard LIMIT 1) SELECT name FROM best", "SHOW TABLES"):
        assert reader.query(sql).rows
    assert len(opened) == 1
    with Store.open(folder) as store:
        store.append(make_event(7))
    assert reader.query("SELECT count(*) FROM events WHERE event_id = 'event-7'").rows == [(1,)]
    assert len(opened) == 2


def test_a_leaderboard_from_memory_is_that_of_the_files(stored: tuple[Folder, list[Any]]) -> None:
    folder, _ = stored
    reader = Reader(folder)
    for sql in (BOARD, f"{BOARD} LIMIT 2", "SELECT name FROM Leaderboard WHERE arm = 'grammar'", "FROM arms"):
        fresh = Reader(folder).query(sql)
        for _ in range(3):
            assert reader.query(sql) == fresh
    described = "DESCRIBE leaderboard"
    assert reader.query(described) == Reader(folder).query(described)
    assert reader.query("SHOW TABLES") == Reader(folder).query("SHOW TABLES")


def test_a_leaderboard_from_memory_knows_what_was_appended_since(folder: Folder) -> None:
    reader, best = None, []
    with Store.open(folder, merge_above=2, grace_s=0) as store:
        for number in range(8):
            candidate = make_candidate(number)
            store.append(candidate, make_verdict(candidate, 0.1 * (number + 1)))
            reader = reader or Reader(folder)
            best += [reader.query(f"{BOARD} LIMIT 1").rows[0][3] for _ in range(3)]
    assert best == [number for number in range(8) for _ in range(3)]


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE mine AS SELECT 1 AS one",
        "CREATE OR REPLACE VIEW leaderboard AS SELECT 1 AS one",
        "DROP VIEW leaderboard",
        "SELECT 1; DROP VIEW leaderboard; SELECT 2",
        "SET default_null_order = 'nulls_first'",
        "CREATE SCHEMA other; USE other",
        "BEGIN; DROP VIEW leaderboard",
        "EXPLAIN ANALYZE CREATE TABLE mine AS SELECT 1 AS one",
    ],
)
def test_what_sql_leaves_behind_is_gone_with_the_next_query(stored: tuple[Folder, list[Any]], sql: str) -> None:
    reader = Reader(stored[0])
    expected = [reader.query(BOARD), reader.query("SHOW TABLES")]
    reader.query(sql)
    assert [reader.query(BOARD), reader.query("SHOW TABLES")] == expected
    assert reader.retries == 0


@pytest.mark.parametrize("sql", ["SELECT nothing FROM leaderboard", "SELEC", "FROM nowhere", "SELECT 'a'::INT"])
def test_a_mistake_leaves_the_next_query_as_it_was(stored: tuple[Folder, list[Any]], sql: str) -> None:
    reader = Reader(stored[0])
    expected = reader.query(BOARD)
    for _ in range(2):
        with pytest.raises(duckdb.Error):
            reader.query(sql)
        assert reader.query(BOARD) == expected
    assert reader.retries == 0


def test_an_empty_statement_asks_nothing(stored: tuple[Folder, list[Any]]) -> None:
    assert Reader(stored[0]).query("-- nothing").rows == []


def test_a_file_that_vanishes_between_two_queries_is_named(campaign: tuple[Path, list[Any]]) -> None:
    folder, records = campaign
    reader = Reader(folder)
    count = "SELECT count(DISTINCT trial_id) FROM trials"
    num = sum(isinstance(record, Trial) for record in records)
    assert reader.query(count).rows == reader.query(count).rows == [(num,)]
    victim = read_manifest(folder / "lineage").tables["trials"][0]
    (folder / "lineage" / victim.file).unlink()
    assert reader.query(count).rows == [(num - victim.rows,)]
    assert [skipped.file for skipped in reader.skipped] == [victim.file]
    assert reader.retries == 1


def test_files_merged_away_between_two_queries_are_found_again(folder: Folder) -> None:
    with Store.open(folder, grace_s=0) as store:
        for number in range(4):
            store.append(make_event(number))
        reader = Reader(folder)
        assert reader.query("SELECT count(event_id) FROM events").rows == [(4,)]
        store.merge(above=1)
        store.append(make_event(9))
        assert reader.query("SELECT count(event_id) FROM events").rows == [(5,)]
    assert reader.skipped == ()
