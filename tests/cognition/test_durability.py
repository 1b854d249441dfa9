from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from cognition.folders import Folder
from cognition.manifest import Manifest, read_manifest, write_manifest
from cognition.reader import Reader
from cognition.records import Candidate, Event, Metric, Trial, Verdict
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


@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing", "emptied"])
def test_a_damaged_fragment_is_set_aside_and_the_rest_is_read(stored: tuple[Folder, list[Any]], damage: str) -> None:
    folder, records = stored
    lineage = lineage_of(folder)
    victim = next(file for file in live(folder) if file.startswith("trials/"))
    data = lineage.read(victim)
    if damage == "missing":
        lineage.remove(victim)
    else:
        broken = bytearray(data)
        broken[len(data) // 2] ^= 1
        lineage.write(victim, {"truncated": data[:-7], "flipped": bytes(broken), "emptied": b""}[damage])
    lost = read_manifest(lineage).tables["trials"][0].rows

    with Store.open(folder) as store:
        [entry] = store.set_aside
        assert (entry.file, entry.rows) == (victim, lost)
        trials = [record for record in records if isinstance(record, Trial)]
        store.append(trials[0])  # what was lost can be done again
    assert ("missing" if damage == "missing" else "corrupt") in entry.reason
    assert victim not in on_disk(folder)
    assert (entry.moved_to is None) == (damage == "missing")
    assert entry.moved_to is None or entry.moved_to in on_disk(folder)
    assert read_manifest(lineage).set_aside == (entry,)
    assert Reader(folder).rows(Trial) == [*trials[lost:], trials[0]]
    assert Reader(folder).rows(Candidate) == [record for record in records if isinstance(record, Candidate)]
    with Store.open(folder) as store:
        assert store.set_aside == ()


def test_damage_that_a_merge_finds_is_set_aside(folder: Folder) -> None:
    with Store.open(folder) as store:
        for number in range(4):
            store.append(make_event(number))
        lineage_of(folder).write(live(folder)[1], b"")
        store.merge(above=1)
        assert len(store.set_aside) == 1
    assert [event.created_at for event in Reader(folder).rows(Event)] == [0.0, 2.0, 3.0]


def test_a_lost_manifest_is_not_taken_for_a_new_store(stored: tuple[Folder, list[Any]]) -> None:
    folder, _ = stored
    lineage_of(folder).remove("manifest.json")
    before = on_disk(folder)
    with pytest.raises(ValueError, match=r"is missing but \d+ fragments are there"):
        Store.open(folder)
    assert on_disk(folder) == before


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', "\xff"])
def test_a_damaged_manifest_is_refused_by_name(folder: Folder, text: str) -> None:
    Store.open(folder).close()
    lineage_of(folder).write("manifest.json", text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"manifest\.json\S* is no manifest"):
        Store.open(folder)


def test_a_manifest_of_a_later_format_is_refused(folder: Folder) -> None:
    Store.open(folder).close()
    lineage = lineage_of(folder)
    lineage.write("manifest.json", json.dumps({**json.loads(lineage.read("manifest.json")), "format": 2}).encode())
    with pytest.raises(ValueError, match="has format 2, this version reads 1"):
        Store.open(folder)


def test_a_cut_at_any_file_operation_leaves_the_whole_group_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Cut(BaseException):
        pass

    real_sync, real_replace, real_unlink = os.fsync, os.replace, Path.unlink
    outcomes = set()
    for cut_at in range(100):
        folder = tmp_path / str(cut_at)
        store = Store.open(folder, merge_above=1, grace_s=0)
        store.append(make_event(0))
        steps = iter(range(10_000))

        def cut(steps: Any = steps, cut_at: int = cut_at) -> None:
            if next(steps) >= cut_at:  # nothing works any more after the cut
                raise Cut

        monkeypatch.setattr(os, "fsync", lambda descriptor, cut=cut: (cut(), real_sync(descriptor))[1])
        monkeypatch.setattr(os, "replace", lambda a, b, cut=cut: (cut(), real_replace(a, b))[1])
        monkeypatch.setattr(
            Path, "unlink", lambda path, missing_ok=False, cut=cut: (cut(), real_unlink(path, missing_ok=missing_ok))[1]
        )
        acknowledged = False
        try:
            store.append(make_event(1), make_verdict(make_candidate(1), 0.5))
            acknowledged = True
        except Cut:
            pass
        finally:
            monkeypatch.undo()
        Store.open(folder).close()
        events, verdicts = Reader(folder).rows(Event), Reader(folder).rows(Verdict)
        assert (len(events), len(verdicts)) in {(1, 0), (2, 1)}
        assert not acknowledged or len(verdicts) == 1
        assert on_disk(folder) - {file for e in read_manifest(folder / "lineage").retired for file in e.files} == set(
            live(folder)
        )
        outcomes.add((len(verdicts), acknowledged))
        if acknowledged:
            break
    assert outcomes == {(0, False), (1, False), (1, True)}


def test_a_killed_writer_loses_nothing_that_was_acknowledged(folder: Folder) -> None:
    program = (
        "import sys\n"
        "from cognition.store import Store\n"
        "from tests.cognition.factories import make_candidate, make_event, make_verdict\n"
        "store = Store.open(sys.argv[1], merge_above=3, grace_s=0)\n"
        "number = int(sys.argv[2])\n"
        "while True:\n"
        "    store.append(make_event(number), make_verdict(make_candidate(number), 0.5))\n"
        "    print(number, flush=True)\n"
        "    number += 1\n"
    )
    rng = random.Random(0)
    number = 0
    for _ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", program, str(folder.place), str(number)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        acknowledged = [int(writer.stdout.readline())]
        reading = threading.Thread(target=lambda out=writer.stdout, to=acknowledged: to.extend(map(int, out)))
        reading.start()
        time.sleep(rng.uniform(0.05, 0.3))
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        reading.join()
        writer.stdout.close()
        Store.open(folder).close()
        events, verdicts = Reader(folder).rows(Event), Reader(folder).rows(Verdict)
        assert [event.created_at for event in events] == [float(place) for place in range(len(events))]
        assert len(verdicts) == len(events)
        assert len(events) >= acknowledged[-1] + 1
        number = len(events)


def test_a_full_disk_refuses_the_group_and_the_store_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store.open(tmp_path) as store:
        monkeypatch.setattr(os, "fsync", _no_space)
        with pytest.raises(OSError, match="No space left"):
            store.append(make_event(1))
        monkeypatch.undo()
        assert on_disk(tmp_path) == set()
        store.append(make_event(1))
    assert len(Reader(tmp_path).rows(Event)) == 1


@pytest.mark.parametrize("replaced", [False, True], ids=["the old one stays", "the new one is there"])
def test_a_group_in_doubt_is_in_the_store_once(folder: Folder, monkeypatch: pytest.MonkeyPatch, replaced: bool) -> None:
    metric, event = make_metric(make_trial(make_candidate(1)), 4), make_event(1)
    store = Store.open(folder)

    def refused(lineage: Folder, manifest: Manifest) -> None:
        if replaced:
            write_manifest(lineage, manifest)
        _no_space()

    monkeypatch.setattr("cognition.store.write_manifest", refused)
    for _ in range(2):
        with pytest.raises(OSError, match="No space left"):
            store.append(metric, event)
    monkeypatch.undo()
    store.append(metric, event)
    store.append(make_event(2))
    with pytest.raises(ValueError, match="is in the store already"):
        store.append(event)
    assert (Reader(folder).rows(Metric), len(Reader(folder).rows(Event))) == ([metric], 2)
    assert on_disk(folder) == set(live(folder))
    store.close()
    with Store.open(folder) as again:
        assert again.has(Event, event.event_id)


def test_another_group_after_one_in_doubt_leaves_it_whole_or_out(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(folder) as store:
        monkeypatch.setattr("cognition.store.write_manifest", _no_space)
        with pytest.raises(OSError, match="No space left"):
            store.append(make_event(1), make_verdict(make_candidate(1), 0.5))
        monkeypatch.undo()
        store.append(make_event(2))
    assert [event.created_at for event in Reader(folder).rows(Event)] == [2.0]
    assert Reader(folder).rows(Verdict) == []


def test_a_real_limit_on_file_sizes_refuses_and_once_lifted_takes_the_same_group(tmp_path: Path) -> None:
    program = (
        "import resource, sys\n"
        "from cognition.store import Store\n"
        "from tests.cognition.factories import make_event\n"
        "hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]\n"
        "with Store.open(sys.argv[1], merge_above=2, grace_s=0) as store:\n"
        "    for number in range(12):\n"
        "        for limit in (*range(0, 6000, 500), hard):\n"  # cuts fragments, merges and manifests alike
        "            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))\n"
        "            try:\n"
        "                store.append(make_event(number))\n"
        "                break\n"
        "            except OSError as error:\n"
        "                assert error.errno == 27, error\n"
        "        print(limit, flush=True)\n"
        "        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert max(map(int, done.stdout.split())) > 0
    assert [event.created_at for event in Reader(tmp_path).rows(Event)] == [float(number) for number in range(12)]
    Store.open(tmp_path).close()
    assert on_disk(tmp_path) == set(live(tmp_path))


def test_a_merge_that_fails_does_not_fail_the_append(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store.open(folder, merge_above=1) as store:
        store.append(make_event(0))
        monkeypatch.setattr(Store, "_merge_run", _no_space)
        store.append(make_event(1))
        monkeypatch.undo()
        store.append(make_event(2))
    assert [event.created_at for event in Reader(folder).rows(Event)] == [0.0, 1.0, 2.0]
    assert len(live(folder)) == 1


def _no_space(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")
