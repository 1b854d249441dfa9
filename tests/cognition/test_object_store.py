"""What is particular to a store in an object store: what it asks for, what it makes of lost answers, where it reads."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cognition.__main__ import main
from cognition.folders import Folder, folder_at, require_place
from cognition.manifest import read_manifest, write_manifest
from cognition.reader import NoLineage, Reader
from cognition.records import Event, Verdict
from cognition.store import Store
from tests.cognition.factories import lineage_of, live, make_candidate, make_event, make_verdict, on_disk
from tests.object_store import ObjectStore


@pytest.fixture
def remote(object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """An empty run folder in the object store; what is refused is not tried again."""
    monkeypatch.setattr("cognition.folders.object_store._MOST_TRIES", 1)
    return folder_at(object_store.uri())


def a_put_of(part: str) -> Callable[[str, str], bool]:
    return lambda method, key: method == "PUT" and part in key


def test_a_commit_is_one_put_for_each_fragment_and_one_for_the_manifest(
    remote: Folder, object_store: ObjectStore
) -> None:
    with Store.open(remote) as store:
        with object_store.counted() as asked:
            store.append(make_event(1))
        assert asked == {"PUT": 2}
        with object_store.counted() as asked:
            store.append(make_event(2), make_candidate(2), make_verdict(make_candidate(2), 0.5))
        assert asked == {"PUT": 4}


def test_a_fragment_is_fetched_once(remote: Folder, object_store: ObjectStore) -> None:
    with Store.open(remote) as store:
        for number in range(5):
            store.append(make_event(number))
        reader = Reader(remote)
        with object_store.counted() as asked:
            assert len(reader.rows(Event)) == 5
        assert asked == {"HEAD": 6, "GET": 6}  # pyarrow asks for a size first
        with object_store.counted() as asked:
            assert reader.query("SELECT count(*) FROM events").rows == [(5,)]
        assert asked == {"HEAD": 1, "GET": 1}, "the manifest alone"


def test_a_merge_reads_each_fragment_once_and_asks_three_times_to_remove_one(
    remote: Folder, object_store: ObjectStore, clock: Any
) -> None:
    with Store.open(remote, clock=clock) as store:
        for number in range(4):
            store.append(make_event(number))
        with object_store.counted() as asked:
            store.merge(above=1)
        assert asked == {"HEAD": 4, "GET": 4, "PUT": 2}
        clock.seconds += 121
        with object_store.counted() as asked:
            store.append(make_event(4))
        assert asked == {"HEAD": 4, "DELETE": 4, "PUT": 2 + 4}, "pyarrow marks the folder that it thinks it has emptied"
    with object_store.counted() as asked:
        Store.open(remote).close()
    assert asked == {"GET": 4, "HEAD": 3}, "the manifest, two fragments, one listing"


@pytest.mark.parametrize("part", ["events/", "manifest.json"])
def test_a_put_whose_answer_was_lost_is_in_the_store_once(remote: Folder, object_store: ObjectStore, part: str) -> None:
    with Store.open(remote) as store:
        store.append(make_event(0))
        with object_store.losing_answers(a_put_of(part)), pytest.raises(OSError, match="away"):
            store.append(make_event(1), make_verdict(make_candidate(1), 0.5))
        store.append(make_event(1), make_verdict(make_candidate(1), 0.5))
        store.append(make_event(2))
    reader = Reader(remote)
    assert [event.created_at for event in reader.rows(Event)] == [0.0, 1.0, 2.0]
    assert len(reader.rows(Verdict)) == 1
    Store.open(remote).close()
    assert on_disk(remote) == set(live(remote))


def test_a_put_that_was_given_up_and_comes_late_touches_nothing(remote: Folder, object_store: ObjectStore) -> None:
    with Store.open(remote) as store:
        late: list[str] = []

        def refused(method: str, key: str) -> bool:
            late.append(key.partition("/lineage/")[2])
            return a_put_of("events/")(method, key)

        with object_store.refusing(refused), pytest.raises(OSError, match="away"):
            store.append(make_event(1))
        store.append(make_event(2))
        given_up = next(key for key in late if key.startswith("events/"))
        lineage_of(remote).write(given_up, b"what the first one held")
        store.append(make_event(3))
        assert [event.created_at for event in Reader(remote).rows(Event)] == [2.0, 3.0]
    Store.open(remote).close()
    assert on_disk(remote) == set(live(remote))


def test_two_manifests_in_doubt_are_told_apart(remote: Folder, object_store: ObjectStore) -> None:
    with Store.open(remote) as store:
        store.append(make_event(0))
        before = lineage_of(remote).read("manifest.json")
        with object_store.losing_answers(a_put_of("manifest.json")), pytest.raises(OSError, match="away"):
            store.append(make_event(1))
        landed = lineage_of(remote).read("manifest.json")
        lineage_of(remote).write("manifest.json", before)  # as if it were still on its way
        with object_store.refusing(a_put_of("manifest.json")), pytest.raises(OSError, match="away"):
            store.append(make_event(2))
        lineage_of(remote).write("manifest.json", landed)  # and comes while another one is in doubt
        store.append(make_event(2))
        assert store.has(Event, "event-2")
    assert 2.0 in [event.created_at for event in Reader(remote).rows(Event)]


@pytest.mark.parametrize("num", [1, 40], ids=["by a shorter one", "by a longer one"])
def test_a_manifest_that_is_replaced_between_its_size_and_its_bytes_is_read_again(
    remote: Folder, object_store: ObjectStore, num: int
) -> None:
    lineage = lineage_of(remote)
    with Store.open(remote) as store:
        store.append(*(make_event(number) for number in range(5)), make_verdict(make_candidate(1), 0.5))
    between = read_manifest(lineage)
    fragments = between.tables["events"] * num
    write_manifest(lineage, replace(between, generation=7, tables={"events": fragments}))
    after = lineage.read("manifest.json")
    write_manifest(lineage, between)
    replaced = threading.Event()

    def meanwhile(method: str, key: str) -> bool:
        if method == "GET" and key.endswith("manifest.json") and not replaced.is_set():
            replaced.set()
            lineage.write("manifest.json", after)
        return False

    with object_store.refusing(meanwhile):
        assert read_manifest(lineage).generation == 7
    assert replaced.is_set()


def test_a_fragment_that_is_removed_between_its_size_and_its_bytes_is_read_where_it_was_merged(
    remote: Folder, object_store: ObjectStore, clock: Any
) -> None:
    merged = threading.Event()
    with Store.open(remote, clock=clock) as store:
        for number in range(4):
            store.append(make_event(number))
        reader = Reader(remote)

        def meanwhile(method: str, key: str) -> bool:
            if method == "GET" and "/events/" in key and not merged.is_set():
                merged.set()
                store.merge(above=1)
                clock.seconds += 121
                store.append(make_event(4))
            return False

        with object_store.refusing(meanwhile):
            assert len(reader.rows(Event)) == 5
    assert merged.is_set()


def test_a_store_that_is_away_is_an_os_error_and_not_damage(remote: Folder, object_store: ObjectStore) -> None:
    with Store.open(remote) as store:
        for number in (0, 10, 11):
            store.append(make_event(number))
        reader = Reader(remote)
        with object_store.refusing():
            for ask in (
                lambda: store.append(make_event(1)),
                lambda: store.merge(above=1),
                lambda: reader.rows(Event),
                lambda: reader.query("FROM events"),
                lambda: Reader(remote),
                lambda: Store.open(remote),
            ):
                with pytest.raises(OSError, match=r"away|503") as told:
                    ask()
                assert told.value.strerror is not None
                assert "\n" not in str(told.value)
                assert not isinstance(told.value, FileNotFoundError)
        store.append(make_event(1))
        assert store.set_aside == ()
        assert len(reader.rows(Event)) == 4


def test_nobody_is_written_over_where_the_lease_is_lost(remote: Folder) -> None:
    def lost() -> None:
        raise ValueError("driven by another process")

    with Store.open(remote) as store:
        store.append(make_event(0))
    store = Store.open(remote, confirm=lost)
    before = lineage_of(remote).read("manifest.json")
    with pytest.raises(ValueError, match="driven by another"):
        store.append(make_event(1))
    assert lineage_of(remote).read("manifest.json") == before


def test_copies_are_those_that_the_manifest_names_and_go_with_the_reader(
    remote: Folder, clock: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with Store.open(remote, grace_s=120, clock=clock) as store:
        for number in range(4):
            store.append(make_event(number))
        reader = Reader(remote)
        with reader.connect() as connection:
            store.merge(above=1)
            assert len(reader.rows(Event)) == 4
            assert connection.execute("SELECT count(*) FROM events").fetchall() == [(4,)], "retired ones stay readable"
        assert len(copies(tmp_path)) == 5
        clock.seconds += 121
        store.append(make_event(4))
        assert len(reader.rows(Event)) == 5
        assert sorted(copies(tmp_path)) == sorted(Path(file).name for file in live(remote))
    del reader, connection
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_copies_that_somebody_removed_are_fetched_again(
    remote: Folder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with Store.open(remote) as store:
        store.append(make_event(1))
    reader = Reader(remote)
    for _ in range(2):
        assert reader.query("SELECT count(event_id), max(detail) FROM events").rows == [(1, "")]
        assert len(reader.rows(Event)) == 1
        for path in tmp_path.rglob("*.parquet"):
            path.unlink()


def test_the_copies_of_a_killed_reader_go_with_the_next_one(
    remote: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(remote) as store:
        store.append(make_event(1))
    program = (
        "import sys, time\n"
        "from cognition.reader import Reader\n"
        "from cognition.records import Event\n"
        "reader = Reader(sys.argv[1])\n"
        "print(len(reader.rows(Event)), flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(remote.place)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        beside = Reader(remote)
        assert len(list(tmp_path.iterdir())) == 2, "the other one lives"
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        again = Reader(remote)
        assert len(list(tmp_path.iterdir())) == 2
        assert beside.rows(Event) == again.rows(Event)


def test_sql_asks_a_live_store_by_its_uri(object_store: ObjectStore, capsys: pytest.CaptureFixture[str]) -> None:
    uri = object_store.uri()
    with Store.open(uri) as store:
        store.append(make_event(1))
        command = [sys.executable, "-m", "cognition", "sql", "FROM events", "--run", uri, "--format", "csv"]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert (ran.returncode, ran.stderr) == (0, "")
        assert "event-1,intent,propose/1" in ran.stdout
        by_environment = [
            "sql",
            "SELECT count(*) AS num FROM events",
            "--run",
            uri.partition("?")[0],
            "--format",
            "csv",
        ]
        ran = subprocess.run(
            [sys.executable, "-m", "cognition", *by_environment],
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, **object_store.environment},
        )
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, "num\n1\n", "")
        with object_store.refusing():
            assert main(["sql", "FROM events", "--run", uri]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert "503" in told
    assert len(told.splitlines()) == 1


def test_what_is_not_there_says_so(object_store: ObjectStore) -> None:
    with pytest.raises(NoLineage, match=r"no run folder s3://runs/nothing\?"):
        Reader(object_store.uri("nothing"))
    missing = object_store.uri("x").replace("s3://runs/", "s3://no-such-bucket/")
    with pytest.raises(NoLineage, match="no run folder"):
        Reader(missing)
    with pytest.raises(OSError, match=r"NO_SUCH_BUCKET|NoSuchBucket|does not exist"):
        Store.open(missing)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("abfs://box/runs", "empty while they are written"),
        ("hdfs://name/runs", "empty while they are written"),
        ("ftp://host/runs", "known are paths and the schemes file, s3"),
        ("s3://AKIA:secret@bucket/runs", "take it out and set AWS_ACCESS_KEY_ID"),
        ("s3:///runs", "names no place"),
    ],
)
def test_a_place_where_no_run_can_lie_is_refused_with_what_to_do(place: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as told:
        require_place(place)
    assert "secret" not in str(told.value)


def test_the_generation_goes_on_after_a_manifest_in_doubt(remote: Folder, object_store: ObjectStore) -> None:
    with Store.open(remote) as store:
        with object_store.refusing(a_put_of("manifest.json")), pytest.raises(OSError, match="away"):
            store.append(make_event(1))
        first = read_manifest(lineage_of(remote)).generation
        store.append(make_event(1))
        assert read_manifest(lineage_of(remote)).generation == first + 2


def copies(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*.parquet")]
