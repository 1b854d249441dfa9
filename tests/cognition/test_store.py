from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cognition.folders import Folder
from cognition.fragments import Fragment
from cognition.manifest import read_manifest
from cognition.merging import FAN_IN, next_run
from cognition.reader import Reader
from cognition.records import Event, Metric, Trial
from cognition.store import Store
from tests.cognition.factories import (
    lineage_of,
    live,
    make_candidate,
    make_event,
    make_metric,
    make_trial,
    make_verdict,
    on_disk,
)


def test_everything_appended_is_read_back_in_order(stored: tuple[Folder, list[Any]]) -> None:
    folder, records = stored
    reader = Reader(folder)
    for record_type in {type(record) for record in records}:
        assert reader.rows(record_type) == [record for record in records if type(record) is record_type]


def test_a_group_spans_tables_and_appears_at_once(folder: Folder) -> None:
    candidate = make_candidate(1)
    with Store.open(folder) as store:
        before = read_manifest(lineage_of(folder)).generation
        store.append(candidate, make_trial(candidate), make_verdict(candidate, 0.5))
    assert read_manifest(lineage_of(folder)).generation == before + 1
    assert {file.split("/")[0] for file in live(folder)} == {"candidates", "trials", "verdicts"}


def test_an_empty_append_changes_nothing(folder: Folder) -> None:
    with Store.open(folder) as store:
        before = read_manifest(lineage_of(folder))
        store.append()
    assert read_manifest(lineage_of(folder)) == before


def test_a_key_is_refused_the_second_time_and_its_group_leaves_no_trace(folder: Folder) -> None:
    with Store.open(folder) as store:
        store.append(make_event(1))
        with pytest.raises(ValueError, match=r"events: event_id='event-1' is in the store already"):
            store.append(make_event(2), make_event(1))
        with pytest.raises(ValueError, match="twice in this group"):
            store.append(make_event(3), make_event(3))
        store.append(make_event(2))
    assert [event.event_id for event in Reader(folder).rows(Event)] == ["event-1", "event-2"]


def test_keys_are_known_again_after_opening(folder: Folder) -> None:
    trial = make_trial(make_candidate(1))
    with Store.open(folder) as store:
        assert not store.has(Trial, trial.trial_id)
        store.append(trial)
    with Store.open(folder) as store:
        assert store.has(Trial, trial.trial_id)
        with pytest.raises(ValueError, match="in the store already"):
            store.append(trial)


def test_metrics_of_a_trial_that_ran_again_are_accepted(folder: Folder) -> None:
    trial = make_trial(make_candidate(1))
    with Store.open(folder) as store:
        store.append(make_metric(trial, 1, loss=3.0))
        store.append(make_metric(trial, 1, loss=2.0))
    assert [metric.loss for metric in Reader(folder).rows(Metric)] == [3.0, 2.0]
    assert Reader(folder).query("SELECT loss FROM curves").rows == [(2.0,)]


def test_a_value_that_does_not_fit_writes_nothing(folder: Folder) -> None:
    with Store.open(folder) as store:
        wrong = make_verdict(make_candidate(1), "good")
        with pytest.raises(ValueError, match=r"verdicts\.fitness takes double"):
            store.append(make_event(1), wrong)
        store.append(make_event(1))
    assert on_disk(folder) == set(live(folder))


def test_a_closed_store_takes_no_records(folder: Folder) -> None:
    store = Store.open(folder)
    store.close()
    store.close()
    with pytest.raises(ValueError, match="it was closed; open the store again"):
        store.append(make_event(1))


@pytest.mark.parametrize("arguments", [{"merge_above": 0}, {"grace_s": -1.0}])
def test_settings_out_of_range_are_refused(folder: Folder, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="give"):
        Store.open(folder, **arguments)


def test_merging_keeps_rows_and_order_and_bounds_the_fragments(folder: Folder) -> None:
    with Store.open(folder, merge_above=4) as store:
        for number in range(60):
            store.append(make_event(number))
            assert len(live(folder)) <= 4 + FAN_IN + 1
    assert [event.created_at for event in Reader(folder).rows(Event)] == [float(number) for number in range(60)]
    assert sorted(live(folder)) == live(folder), "names of fragments sort by age"


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(1, 5), max_size=20), st.integers(1, 4), st.sets(st.integers(0, 30), max_size=3))
def test_any_history_reads_back_whole(
    new_folder: Callable[[], Folder], groups: list[int], merge_above: int, reopened: set[int]
) -> None:
    folder = new_folder()
    store = Store.open(folder, merge_above=merge_above, grace_s=0)
    number = 0
    for place, size in enumerate(groups):
        if place in reopened:
            store.close()
            store = Store.open(folder, merge_above=merge_above, grace_s=0)
        store.append(*(make_event(number + offset) for offset in range(size)))
        number += size
    store.close()
    assert [event.created_at for event in Reader(folder).rows(Event)] == [float(place) for place in range(number)]
    assert on_disk(folder) == set(live(folder))


def test_three_hundred_thousand_commits_stay_below_a_hundred_fragments() -> None:
    # The policy alone: what a table would hold after each commit, and how often a row is rewritten.
    held: list[Fragment] = []
    rewritten = 0
    most = 0

    def fragment(level: int, rows: int) -> Fragment:
        return Fragment(file="", rows=rows, size_bytes=1, crc32=0, level=level, digest="")

    for _ in range(300_000 // 65):
        held += [fragment(0, 1) for _ in range(65)]
        most = max(most, len(held))
        while run := next_run(held, 64):
            first = held.index(run[0])
            rows = sum(part.rows for part in run)
            held[first : first + len(run)] = [fragment(run[0].level + 1, rows)]
            rewritten += rows
    assert most <= 100
    assert rewritten <= 6 * 300_000


def test_merged_files_stay_for_the_grace_period_and_then_go(folder: Folder, clock: Any) -> None:
    store = Store.open(folder, merge_above=2, grace_s=120, clock=clock)
    for number in range(3):
        store.append(make_event(number))
    retired = read_manifest(lineage_of(folder)).retired
    assert [len(entry.files) for entry in retired] == [3]
    assert set(retired[0].files) <= on_disk(folder)
    clock.seconds += 119
    store.append(make_event(3))
    assert set(retired[0].files) <= on_disk(folder)
    clock.seconds += 1
    store.append(make_event(4))
    assert not set(retired[0].files) & on_disk(folder)
    assert read_manifest(lineage_of(folder)).retired == ()


def test_what_an_earlier_writer_retired_has_its_grace_again(folder: Folder, clock: Any) -> None:
    with Store.open(folder, merge_above=2, grace_s=120, now=lambda: 0.0, clock=clock) as store:
        for number in range(3):
            store.append(make_event(number))
    retired = read_manifest(lineage_of(folder)).retired
    a_year = 3.2e7  # of the wall clock, which says nothing of how long readers had
    with Store.open(folder, grace_s=120, now=lambda: a_year, clock=clock) as store:
        store.append(make_event(3))
        assert set(retired[0].files) <= on_disk(folder)
        clock.seconds += 120
        store.append(make_event(4))
        assert not set(retired[0].files) & on_disk(folder)


def test_merge_on_demand_compacts(folder: Folder) -> None:
    with Store.open(folder) as store:
        for number in range(5):
            store.append(make_event(number))
        assert store.merge() == 0
        assert store.merge(above=1) == 5
    assert len(live(folder)) == 1


def test_opening_removes_orphans_and_temporary_files_only(stored: tuple[Folder, list[Any]]) -> None:
    folder, _ = stored
    lineage = lineage_of(folder)
    before = on_disk(folder)
    lineage.write("trials/0000009999-0.parquet", b"half a fragment")
    lineage.write("trials/0000009998-0.parquet.tmp", b"")
    lineage.write("manifest.json.tmp", b"{")
    lineage.write("notes.txt", b"the user's own")
    Store.open(folder).close()
    assert on_disk(folder) == before | {"notes.txt"}


def test_threads_may_append_side_by_side(folder: Folder) -> None:
    with Store.open(folder, merge_above=3) as store:
        threads = [
            threading.Thread(target=lambda first=first: [store.append(make_event(first + n)) for n in range(10)])
            for first in range(0, 40, 10)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert {event.created_at for event in Reader(folder).rows(Event)} == {float(number) for number in range(40)}


def test_ten_thousand_records_in_groups_of_a_hundred_leave_few_fragments(folder: Folder) -> None:
    groups = [[make_event(first + offset) for offset in range(100)] for first in range(0, 10_000, 100)]
    with Store.open(folder) as store:
        for group in groups:
            store.append(*group)
    assert len(live(folder)) <= 65
