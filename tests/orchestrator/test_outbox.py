"""Rows that the file system refuses: held in order, waited for, given up in the end. On a folder that goes away, and in
an object store that does.
"""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest

from cognition.manifest import read_manifest
from cognition.reader import Reader
from cognition.records import Event
from cognition.store import Store
from orchestrator.errors import UsageError
from orchestrator.outbox import REFUSED, TAKEN_AGAIN, Outbox
from orchestrator.rows import Rows, event
from tests.cognition.factories import make_event
from tests.object_store import ObjectStore


class Told:
    def __init__(self) -> None:
        self.kinds: list[str] = []

    def __call__(self, kind: str, detail: str) -> None:
        assert detail
        self.kinds.append(kind)


def away(folder: Path) -> None:
    (folder / "lineage").rename(folder / "elsewhere")


def back(folder: Path) -> None:
    (folder / "elsewhere").rename(folder / "lineage")


def written(folder: Path) -> list[float]:
    return [row.created_at for row in Reader(folder).rows(Event)]


async def test_rows_are_written_in_order_once_the_folder_is_back(tmp_path: Path) -> None:
    told = Told()
    outbox = Outbox(Store.open(tmp_path), 60.0, told)
    outbox.put(make_event(0))
    await outbox.on_disk()
    away(tmp_path)
    outbox.put(make_event(1), make_event(2))
    outbox.put(make_event(3))
    waiting = asyncio.create_task(outbox.on_disk())
    await asyncio.sleep(0.6)
    assert not waiting.done()
    outbox.put(make_event(4))
    back(tmp_path)
    await waiting
    await outbox.on_disk()
    outbox.put(make_event(5))
    assert written(tmp_path) == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert told.kinds == [REFUSED, TAKEN_AGAIN]
    outbox.close()


async def test_rows_are_written_in_order_once_the_object_store_is_back(object_store: ObjectStore) -> None:
    uri, told = object_store.uri(), Told()
    outbox = Outbox(Store.open(uri), 60.0, told)
    outbox.put(make_event(0))
    with object_store.refusing():
        outbox.put(make_event(1), make_event(2))
        outbox.put(make_event(3))
        waiting = asyncio.create_task(outbox.on_disk())
        await asyncio.sleep(0.6)
        assert not waiting.done()
    await waiting
    assert [row.created_at for row in Reader(uri).rows(Event)] == [0.0, 1.0, 2.0, 3.0]
    assert told.kinds == [REFUSED, TAKEN_AGAIN]
    outbox.close()


async def test_an_object_store_that_takes_its_time_to_refuse_holds_nobody_up(object_store: ObjectStore) -> None:
    outbox = Outbox(Store.open(object_store.uri()), 60.0, Told())
    opened, asked = threading.Event(), threading.Event()
    opened.set()
    let_through: list[bool] = []

    def slow(method: str, key: str) -> bool:
        asked.set()
        let_through.append(opened.wait(30))
        return True

    with object_store.refusing(slow):
        outbox.put(make_event(1))
        opened.clear()
        asked.clear()
        while not asked.is_set():
            await asyncio.sleep(0.01)
        opened.set()  # by whoever goes on meanwhile
    await outbox.on_disk()
    outbox.close()
    assert all(let_through)


async def test_patience_ends_for_all_who_wait(tmp_path: Path) -> None:
    outbox = Outbox(Store.open(tmp_path), 0.5, Told())
    away(tmp_path)
    outbox.put(make_event(1))
    waiting = [asyncio.create_task(outbox.on_disk()) for _ in range(3)]
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(outcome, UsageError) for outcome in outcomes)
    assert outbox.broken is not None
    assert "1 rows were not kept" in outbox.broken
    back(tmp_path)
    outbox.put(make_event(2))  # as the last word of a campaign that stops: whatever can be kept is
    assert written(tmp_path) == [1.0, 2.0]
    outbox.close()


async def test_a_stop_shortens_the_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.outbox._LAST_CHANCE_S", 0.3)
    outbox = Outbox(Store.open(tmp_path), 3600.0, Told())
    away(tmp_path)
    outbox.put(make_event(1))
    await asyncio.sleep(0.1)
    outbox.hurry()
    with pytest.raises(UsageError, match="could not be written"):
        await outbox.on_disk()
    outbox.close()


async def test_what_is_no_group_is_refused_at_once_and_holds_nobody_up(tmp_path: Path) -> None:
    outbox = Outbox(Store.open(tmp_path), 60.0, Told())
    outbox.put(make_event(1))
    with pytest.raises(ValueError, match="in the store already"):
        outbox.put(make_event(1))
    outbox.put(make_event(2))
    await outbox.on_disk()
    assert written(tmp_path) == [1.0, 2.0]
    outbox.close()


async def test_an_intent_is_on_disk_before_the_step_goes_on(tmp_path: Path) -> None:
    rows = Rows(tmp_path, lambda record: None)
    away(tmp_path)
    rows.record(event("explained", subject="a"))
    assert rows.population.explained("a"), "what is known is known at once"
    intending = asyncio.create_task(rows.intend("train/b"))
    reading = asyncio.create_task(rows.read(lambda: len(Reader(tmp_path).rows(Event))))
    await asyncio.sleep(0.5)
    assert not intending.done()
    assert not reading.done()
    back(tmp_path)
    await intending
    subjects = [row.subject for row in Reader(tmp_path).rows(Event) if row.subject]
    assert subjects == ["a", "train/b"]
    assert await reading >= 2
    rows.close()


async def test_a_read_alone_is_waited_for_as_well(tmp_path: Path) -> None:
    rows = Rows(tmp_path, lambda record: None, patience_s=0.4)
    rows.record(event("explained", subject="a"))
    away(tmp_path)
    since = time.monotonic()
    with pytest.raises(UsageError, match="cannot be read"):
        await rows.read(lambda: Reader(tmp_path).rows(Event))
    assert time.monotonic() - since >= 0.4
    back(tmp_path)
    assert await rows.read(lambda: len(Reader(tmp_path).rows(Event))) == 1
    rows.close()


def groups(folder: Path) -> int:
    return read_manifest(folder / "lineage").generation


async def test_rows_that_come_faster_than_the_disk_may_take_are_committed_together_and_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.outbox._MOST_SAVED_S", 0.0)
    outbox = Outbox(Store.open(tmp_path), 60.0, Told())
    outbox.put(make_event(0))
    alone = groups(tmp_path)
    for number in range(1, 40):
        outbox.put(make_event(number))
    await outbox.on_disk()
    assert written(tmp_path) == [float(number) for number in range(40)]
    assert groups(tmp_path) <= alone + 3, "the first went alone, the others together"
    outbox.put(make_event(40))
    outbox.close()
    assert written(tmp_path)[-1] == 40.0, "nothing waits behind the end"


async def test_a_campaign_that_writes_seldom_never_waits(tmp_path: Path) -> None:
    outbox = Outbox(Store.open(tmp_path), 60.0, Told())
    for number in range(5):
        outbox.put(make_event(number))
        assert written(tmp_path)[-1] == float(number)
    outbox.close()


async def test_what_is_no_group_spoils_none_of_those_that_it_was_to_be_committed_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.outbox._MOST_SAVED_S", 0.0)
    outbox = Outbox(Store.open(tmp_path), 60.0, Told())
    outbox.put(make_event(0))
    outbox.put(make_event(1))
    outbox.put(make_event(0))
    outbox.put(make_event(2))
    with pytest.raises(UsageError, match="in the store already"):
        await outbox.on_disk()
    assert written(tmp_path)[:2] == [0.0, 1.0]
    outbox.put(make_event(3))  # as the last word of a campaign that stops
    assert written(tmp_path) == [0.0, 1.0, 2.0, 3.0]
    outbox.close()
