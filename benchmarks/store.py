"""The store against SQLite: durable group commits, then the leaderboard over 100,000 records.

    python -m benchmarks.store            # two minutes; writes benchmarks/results/store.json

Both sides keep the same records in the same groups and wait for the disk before a group counts as written (SQLite with
`synchronous = FULL`, in its default journal mode and in WAL mode). Both sides encode the records themselves. The query
is the view `leaderboard` on the one side, the same join over primary keys and an index on fitness on the other; "open"
includes opening the database and, for the store, checking every fragment's bytes. Runs of the sides alternate, figures
are medians. Absolute times depend on the disk: compare the ratios.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.machine import RESULTS, write_result
from cognition.manifest import read_manifest
from cognition.reader import Reader
from cognition.records import (
    RECORDS,
    Candidate,
    Property,
    Record,
    Report,
    ReportKind,
    Score,
    Trial,
    TrialStatus,
    Verdict,
    candidate_id_of,
)
from cognition.schema import columns_of
from cognition.store import LINEAGE, Store

TOP = " LIMIT 20"
SQLITE_LEADERBOARD = """
WITH judged AS (
    SELECT candidate_id, stage, max(fitness) AS fitness, loss FROM verdicts
    WHERE fitness IS NOT NULL GROUP BY candidate_id
)
SELECT c.name, c.arm, c.number, j.fitness, j.loss,
       (SELECT avg(t.benchmark) FROM trials t
        WHERE t.candidate_id = j.candidate_id AND t.stage = j.stage AND t.status = 'finished') AS benchmark,
       r.num_parameters, r.flops_per_token, k.mean_loss, k.std_loss, k.difference
FROM judged j
JOIN candidates c ON c.candidate_id = j.candidate_id
LEFT JOIN reports r ON r.candidate_id = j.candidate_id AND r.kind = 'passed'
LEFT JOIN claims k ON k.candidate_id = j.candidate_id
ORDER BY j.fitness DESC
"""
SQLITE_TOP = """
SELECT c.name, c.arm, c.number, v.fitness, v.loss,
       (SELECT avg(t.benchmark) FROM trials t
        WHERE t.candidate_id = v.candidate_id AND t.stage = v.stage AND t.status = 'finished') AS benchmark,
       r.num_parameters, r.flops_per_token, k.mean_loss, k.std_loss, k.difference
FROM verdicts v
JOIN candidates c ON c.candidate_id = v.candidate_id
LEFT JOIN reports r ON r.candidate_id = v.candidate_id AND r.kind = 'passed'
LEFT JOIN claims k ON k.candidate_id = v.candidate_id
WHERE v.fitness IS NOT NULL
ORDER BY v.fitness DESC LIMIT 20
"""


def outcomes(num: int, rng: random.Random, *, first: int = 0) -> list[Record]:
    """`num` records: candidate, report, trial and verdict in turn, numbered from `first`, sources of thirty lines."""
    records: list[Record] = []
    for number in range(first, first + (num + 3) // 4):
        source = "".join(f"    gate_{line} = {rng.random()}\n" for line in range(30))
        candidate_id = candidate_id_of(f"class TokenMixer:\n{source}")
        records += [
            Candidate(
                candidate_id=candidate_id,
                number=number,
                arm=rng.choice(("grammar", "random")),
                slot="token_mixer",
                name=f"mixer-{number}",
                motivation="a gate per head, after the state is read",
                source=source,
            ),
            Report(
                candidate_id=candidate_id,
                number=number,
                attempt=0,
                kind=ReportKind.passed,
                properties=tuple(
                    Property(name=name, passed=True, figure=rng.random(), limit=1.0)
                    for name in ("shape", "finite", "gradients", "causality", "cost")
                ),
                fingerprint=tuple(rng.random() for _ in range(64)),
                num_parameters=120_000,
                flops_per_token=2.4e5,
            ),
            Trial(
                trial_id=f"{candidate_id}-explore-s0",
                candidate_id=candidate_id,
                stage="explore",
                seed=0,
                split="validation",
                status=TrialStatus.finished,
                loss=2 + rng.random(),
                benchmark=rng.random(),
                scores=(Score(name="loss", value=2.4, stderr=0.01, num_items=4096),),
            ),
            Verdict(
                candidate_id=candidate_id, number=number, stage="explore", fitness=rng.random(), loss=2 + rng.random()
            ),
        ]
    return records[:num]


class Sqlite:
    """The same records in SQLite: one table per record type, nested values as JSON."""

    def __init__(self, path: Path, journal: str) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute(f"PRAGMA journal_mode = {journal}")
        self._connection.execute("PRAGMA synchronous = FULL")
        for record_type in RECORDS:
            names = ", ".join(column.name for column in columns_of(record_type))
            keys = ", ".join(record_type.KEY)
            self._connection.execute(f"CREATE TABLE {record_type.TABLE} ({names}, PRIMARY KEY ({keys}))")
        self._connection.execute("CREATE INDEX verdicts_fitness ON verdicts (fitness)")
        self._connection.execute("CREATE INDEX trials_candidate ON trials (candidate_id, stage)")
        self._connection.execute("CREATE INDEX reports_candidate ON reports (candidate_id)")

    def append(self, *records: Record) -> None:
        groups: dict[type[Record], list[tuple[Any, ...]]] = {}
        for record in records:
            row = []
            for column in columns_of(type(record)):
                value = getattr(record, column.name)
                if value is not None and column.encode is not None:
                    value = column.encode(value)
                row.append(json.dumps(value) if isinstance(value, tuple) else value)
            groups.setdefault(type(record), []).append(tuple(row))
        self._connection.execute("BEGIN IMMEDIATE")
        for record_type, rows in groups.items():
            marks = ", ".join("?" * len(rows[0]))
            self._connection.executemany(f"INSERT INTO {record_type.TABLE} VALUES ({marks})", rows)
        self._connection.execute("COMMIT")

    def close(self) -> None:
        self._connection.close()


def measure_append(folder: Path, records: Sequence[Record], group: int, repeats: int) -> dict[str, float]:
    """Seconds to append all records in groups, per side."""
    times: dict[str, list[float]] = {"store": [], "sqlite": [], "sqlite_wal": []}
    for repeat in range(repeats):
        for side, taken in times.items():
            place = folder / f"{side}-{group}-{repeat}"
            place.mkdir()
            target: Store | Sqlite
            if side == "store":
                target = Store.open(place)
            else:
                target = Sqlite(place / "lineage.db", "WAL" if side == "sqlite_wal" else "DELETE")
            started = time.perf_counter()
            for first in range(0, len(records), group):
                target.append(*records[first : first + group])
            target.close()
            taken.append(time.perf_counter() - started)
    return {side: statistics.median(taken) for side, taken in times.items()}


def measure_queries(folder: Path, records: Sequence[Record], repeats: int) -> dict[str, dict[str, float]]:
    """Seconds of the leaderboard, whole and its top, on an open connection and with opening it, per side."""
    database = Sqlite(folder / "query.db", "WAL")
    database.append(*records)
    database.close()
    queries: dict[str, dict[str, Callable[[], Any]]] = {"sqlite": _sqlite_queries(folder / "query.db")}
    fragments: dict[str, int] = {}
    for side, merge_above in (("store_unmerged", 250), ("store", 64)):
        run = folder / side
        with Store.open(run, merge_above=merge_above) as store:
            for first in range(0, len(records), 100):
                store.append(*records[first : first + 100])
        queries[side] = _store_queries(run)
        fragments[side] = len(read_manifest(run / LINEAGE).live())
    figures: dict[str, dict[str, list[float]]] = {side: {name: [] for name in asked} for side, asked in queries.items()}
    for _ in range(repeats):
        for side, asked in queries.items():
            for name, ask in asked.items():
                started = time.perf_counter()
                ask()
                figures[side][name].append(time.perf_counter() - started)
    medians = {
        side: {name: statistics.median(taken) for name, taken in asked.items()} for side, asked in figures.items()
    }
    for side, num in fragments.items():
        medians[side]["fragments"] = num
    return medians


def _store_queries(run: Path) -> dict[str, Callable[[], Any]]:
    connection = Reader(run).connect()
    return {
        "top": lambda: connection.execute(f"SELECT * FROM leaderboard{TOP}").fetchall(),
        "whole": lambda: connection.execute("SELECT * FROM leaderboard").fetchall(),
        "open_and_top": lambda: Reader(run).query(f"SELECT * FROM leaderboard{TOP}"),
        "open_and_whole": lambda: Reader(run).query("SELECT * FROM leaderboard"),
    }


def _sqlite_queries(path: Path) -> dict[str, Callable[[], Any]]:
    connection = sqlite3.connect(path)

    def opened(sql: str) -> None:
        fresh = sqlite3.connect(path)
        fresh.execute(sql).fetchall()
        fresh.close()

    return {
        "top": lambda: connection.execute(SQLITE_TOP).fetchall(),
        "whole": lambda: connection.execute(SQLITE_LEADERBOARD).fetchall(),
        "open_and_top": lambda: opened(SQLITE_TOP),
        "open_and_whole": lambda: opened(SQLITE_LEADERBOARD),
    }


def main() -> None:
    """Measure both sides and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="a folder on the disk to measure; default: the temporary one")
    parser.add_argument("--appended", type=int, default=10_000)
    parser.add_argument("--queried", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder that store.json goes to")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    report: dict[str, Any] = {
        "sqlite_version": sqlite3.sqlite_version,
        "appended": options.appended,
        "queried": options.queried,
    }
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        records = outcomes(options.appended, rng)
        warm_up = folder / "warm-up"
        with Store.open(warm_up) as store:
            store.append(*records[:100])
        report["append_s"] = {}
        for group in (100, 10):
            figures = measure_append(folder, records, group, options.repeats)
            report["append_s"][f"groups_of_{group}"] = figures
            print(f"append {options.appended} records in groups of {group}:")
            for side in ("sqlite", "sqlite_wal"):
                ratio = figures["store"] / figures[side]
                print(f"  store {figures['store']:.2f} s, {side} {figures[side]:.2f} s: {ratio:.2f} times as long")
        figures_by_side = measure_queries(folder, outcomes(options.queried, rng), options.repeats + 2)
        report["query_s"] = figures_by_side
        print(f"leaderboard over {options.queried} records:")
        for side in ("store", "store_unmerged"):
            for ask in ("top", "whole", "open_and_top", "open_and_whole"):
                ours, theirs = figures_by_side[side][ask], figures_by_side["sqlite"][ask]
                print(
                    f"  {side} ({figures_by_side[side]['fragments']:.0f} fragments) {ask}: {ours * 1e3:.1f} ms, "
                    f"sqlite {theirs * 1e3:.1f} ms: {ours / theirs:.2f} times as long"
                )
    write_result("store", report, options.results)


if __name__ == "__main__":
    main()
