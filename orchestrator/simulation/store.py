"""The disk: rows are checked as the store checks them, their bytes counted, and the time that a commit takes passes."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cognition.records import Record
from cognition.schema import REPEATABLE, TABLES, encode, key_of
from orchestrator.simulation.clock import VirtualClock
from orchestrator.simulation.costs import Costs
from orchestrator.simulation.meter import OUTSIDE, Meter

_WEIGHED = 100  # one commit in so many is written to memory, as the store would write it


class SimulatedStore:
    """A `Sink` that keeps keys alone. Merges are in a commit's time and not in its bytes."""

    def __init__(self, costs: Costs, clock: VirtualClock, meter: Meter) -> None:
        self._costs, self._clock, self._meter = costs, clock, meter
        self._keys: dict[str, set[tuple[Any, ...]]] = defaultdict(set)
        self.num_commits = self.num_rows = 0
        self.commit_s = 0.0
        self._num_weighed = self._bytes_weighed = 0  # rows, and what they take

    @property
    def bytes(self) -> int:
        """Of all commits, from those that were weighed."""
        return round(self._bytes_weighed * self.num_rows / max(1, self._num_weighed))

    def append(self, *records: Record) -> None:
        """One commit. Raises ValueError where a key is written twice."""
        if not records:
            return
        for record in records:
            if record.TABLE not in REPEATABLE:
                key = key_of(record)
                if key in self._keys[record.TABLE]:
                    raise ValueError(f"{record.TABLE}: {key} is in the store already; every key is written once")
                self._keys[record.TABLE].add(key)
        if self.num_commits % _WEIGHED == 0:
            with self._meter.of(OUTSIDE):
                self._weigh(records)
        self.num_commits += 1
        self.num_rows += len(records)
        took_s = self._costs.commit_s + self._costs.row_s * len(records)
        self.commit_s += took_s
        self._clock.spend(took_s)

    def close(self) -> None:
        self._keys.clear()

    def _weigh(self, records: tuple[Record, ...]) -> None:
        groups: dict[str, list[Record]] = defaultdict(list)
        for record in records:
            groups[record.TABLE].append(record)
        for table, group in groups.items():
            written = pa.BufferOutputStream()
            rows = encode(TABLES[table], group)
            pq.write_table(rows, written, compression="snappy", use_dictionary=False, store_schema=False)
            self._bytes_weighed += written.getvalue().size
        self._num_weighed += len(records)
