"""Readers beside a writer that merges all the time: no read may fail, show half a commit, or lose a row.

    python -m benchmarks.store_readers --seconds 60 --results benchmarks/results

The writer, in a process of its own, commits as fast as it can, merges after every fourth commit and keeps merged-away
files for `--grace` seconds only, so that files vanish under the reader far more often than in any campaign (where they
stay for two minutes). Exit code 1 if a read failed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import sys
import tempfile
import time
import traceback
from multiprocessing.synchronize import Event
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.machine import write_result
from benchmarks.store import outcomes
from cognition.reader import Reader
from cognition.records import Verdict
from cognition.store import Store

TABLES = ("candidates", "reports", "trials", "verdicts")  # every commit adds as many rows to each of them


def write(folder: str, grace_s: float, stop: Event) -> None:
    """Commit groups of five outcomes until told to stop."""
    rng = random.Random(0)
    with Store.open(folder, merge_above=4, grace_s=grace_s) as store:
        number = 0
        while not stop.is_set():
            store.append(*outcomes(20, rng, first=number))
            number += 5


def read(reader: Reader, seen: int) -> int:
    """Read in three ways; returns the number of verdicts. Raises where an answer contradicts itself or `seen`."""
    counts = reader.query("SELECT " + ", ".join(f"(SELECT count(*) FROM {table})" for table in TABLES)).rows[0]
    if len(set(counts)) != 1 or counts[0] % 5:
        raise AssertionError(f"half a commit: {dict(zip(TABLES, counts, strict=True))}")
    best = reader.query("SELECT count(*), max(fitness) FROM leaderboard").rows[0]
    verdicts = reader.rows(Verdict)
    if not seen <= counts[0] <= best[0] <= len(verdicts):
        raise AssertionError(f"rows were lost: {seen}, then {counts[0]}, then {best[0]}, then {len(verdicts)}")
    if len({verdict.candidate_id for verdict in verdicts}) != len(verdicts):
        raise AssertionError("a row was read twice")
    if reader.skipped:
        raise AssertionError(f"fragments left out: {reader.skipped}")
    return len(verdicts)


def main() -> int:
    """Read beside a writer for a while; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--grace", type=float, default=0.05, help="seconds that merged-away files stay")
    parser.add_argument("--results", type=Path, help="a folder for store_readers.json; without it: prints only")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    reads = failed = seen = 0
    with tempfile.TemporaryDirectory() as folder:
        Store.open(folder).close()  # so that there is a lineage to read before the writer is up
        writer = context.Process(target=write, args=(folder, options.grace, stop), daemon=True)
        writer.start()
        reader = Reader(folder)
        started = time.monotonic()
        while not reader.rows(Verdict) and writer.is_alive() and time.monotonic() < started + 120:
            time.sleep(0.05)
        until = time.monotonic() + options.seconds
        while time.monotonic() < until and writer.is_alive():
            try:
                seen = read(reader, seen)
            except Exception:  # noqa: BLE001 - whatever goes wrong with a read is the figure this program is for
                failed += 1
                traceback.print_exc()
            reads += 3
        wrote = writer.is_alive()
        stop.set()
        writer.join(30)
        print(f"{reads} reads, {failed} failed, {reader.retries} taken again, beside {seen} outcomes written")
    if not wrote or not seen:
        print("the writer did not write", file=sys.stderr)
        return 1
    if options.results is not None:
        figures = {
            "seconds": options.seconds,
            "grace_s": options.grace,
            "num_reads": reads,
            "num_failed": failed,
            "num_retries": reader.retries,
            "num_outcomes": seen,
        }
        write_result("store_readers", figures, options.results)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
