from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from models.data import DataSpec
from models.data.sources import fingerprint, open_documents


def write_jsonl(path: Path, *rows: object) -> None:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def write_parquet(path: Path, **columns: list[object]) -> None:
    parquet.write_table(pa.table(columns), path)


def documents(source: Path, **values: object) -> list[bytes]:
    return list(open_documents(DataSpec(source=str(source), **values)))  # type: ignore[arg-type]


def mixed(folder: Path) -> Path:
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "plain.txt").write_bytes(b"plain \xff text")
    write_jsonl(folder / "rows.jsonl", {"text": "one"}, {"text": ""}, {"text": None}, {"text": "zwei \u00e9"})
    (folder / "more.jsonl.gz").write_bytes(gzip.compress(b'{"text": "three"}\n\n{"text": "four"}\n'))
    write_parquet(folder / "deep" / "table.parquet", text=["five", None, "six"], other=[1, 2, 3])
    (folder / "picture.png").write_bytes(b"no text")
    return folder


def test_every_kind_of_file_gives_its_documents(tmp_path: Path):
    wanted = {b"plain \xff text", b"one", "zwei \u00e9".encode(), b"three", b"four", b"five", b"six"}
    found = documents(mixed(tmp_path))
    assert set(found) == wanted
    assert len(found) == len(wanted)


def test_a_single_file_is_a_source(tmp_path: Path):
    write_jsonl(tmp_path / "rows.jsonl", {"text": "one"}, {"text": "two"})
    assert documents(tmp_path / "rows.jsonl") == [b"one", b"two"]


def test_another_column_is_read_where_it_is_named(tmp_path: Path):
    write_jsonl(tmp_path / "rows.jsonl", {"content": "one"})
    write_parquet(tmp_path / "table.parquet", content=["two"])
    assert sorted(documents(tmp_path, column="content")) == [b"one", b"two"]


def test_reading_goes_on_from_any_position(tmp_path: Path):
    spec = DataSpec(source=str(mixed(tmp_path)))
    whole = list(open_documents(spec))
    for taken in range(len(whole) + 1):
        first = open_documents(spec)
        head = [next(first) for _ in range(taken)]
        position = json.loads(json.dumps(first.position()))
        assert head + list(open_documents(spec, position)) == whole


def test_the_order_of_files_depends_on_the_seed_and_not_on_the_disk(tmp_path: Path):
    for number in range(20):
        (tmp_path / f"{number}.txt").write_text(str(number))
    assert documents(tmp_path) == documents(tmp_path)
    assert documents(tmp_path) != documents(tmp_path, seed=1)


def test_a_changed_file_changes_the_fingerprint(tmp_path: Path):
    spec = DataSpec(source=str(mixed(tmp_path)))
    before = fingerprint(spec)
    assert fingerprint(spec) == before
    write_jsonl(tmp_path / "rows.jsonl", {"text": "one more"})
    assert fingerprint(spec) != before


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"text": "fine"}\n{"text": broken}\n', r"a.jsonl:2 is no JSON.*mend or remove"),
        ("a.jsonl", b'{"text": "\xff"}\n', r"a.jsonl:1 is no JSON"),
        ("a.jsonl", b'["text"]\n', r"a.jsonl:1 holds list"),
        ("a.jsonl", b'{"body": "x", "url": "y"}\n', r"a.jsonl:1 has no column 'text'; it has body, url: data.column"),
        ("a.jsonl", b'{"text": 7}\n', r"a.jsonl:1: column 'text' holds int"),
        ("a.jsonl.gz", b"not compressed", r"a.jsonl.gz cannot be read"),
        ("a.jsonl.gz", gzip.compress(b'{"text": "cut short"}\n', mtime=0)[:-12], r"a.jsonl.gz cannot be read"),
        ("a.parquet", b"no table", r"a.parquet cannot be read"),
        ("a.png", b"no text", r"holds 0 text files.*\.txt.*\.parquet"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_place(tmp_path: Path, name: str, content: bytes, message: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        documents(tmp_path)


def test_columns_of_a_table_are_listed_where_the_wanted_one_is_missing(tmp_path: Path):
    write_parquet(tmp_path / "a.parquet", body=["x"], url=["y"])
    with pytest.raises(ValueError, match=r"a.parquet has no column 'text'; it has body, url: data.column=NAME"):
        documents(tmp_path)


def test_a_column_of_numbers_is_no_text(tmp_path: Path):
    write_parquet(tmp_path / "a.parquet", text=[1, 2])
    with pytest.raises(ValueError, match=r"a.parquet, row 1: column 'text' holds int"):
        documents(tmp_path)


def test_a_missing_source_is_named(tmp_path: Path):
    with pytest.raises(ValueError, match=r"nowhere.*no folder and no file"):
        documents(tmp_path / "nowhere")
