from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.data import DataSpec, pack
from models.data.index import SPLIT_NAMES
from models.data.sources import open_documents

pytest.importorskip("datasets")
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def spec(tmp_path: Path) -> DataSpec:
    """Rows of local files, by the same code as those of the hub; none is downloaded."""
    for file in range(3):
        rows = [json.dumps({"text": f"document {file} {row} " + "word " * 20, "id": row}) for row in range(100)]
        (tmp_path / f"{file}.jsonl").write_text("\n".join(rows))
    return DataSpec(source="hf:json", data_files=str(tmp_path / "*.jsonl"), cache=str(tmp_path / "cache"))


def test_rows_of_a_dataset_are_documents(spec: DataSpec):
    found = list(open_documents(spec))
    assert len(found) == 300
    assert found[0].startswith(b"document 0 0 word")


def test_a_stream_goes_on_from_any_position(spec: DataSpec):
    whole = list(open_documents(spec))
    first = open_documents(spec)
    head = [next(first) for _ in range(150)]
    position = json.loads(json.dumps(first.position()))
    assert head + list(open_documents(spec, position)) == whole


def test_a_dataset_is_packed_like_any_source(spec: DataSpec):
    found = pack(spec)
    assert found.index.total.documents == 300
    tokens = np.concatenate(
        [np.fromfile(path, np.uint8) for name in SPLIT_NAMES for path in found.index.paths(found.folder, name)]
    )
    assert tokens.tobytes().count(b"document") == 300


def test_columns_of_a_dataset_are_listed_where_the_wanted_one_is_missing(spec: DataSpec):
    with pytest.raises(ValueError, match=r"hf:json has no column 'body'; it has text, id: data.column=NAME"):
        open_documents(dataclasses.replace(spec, column="body"))


def test_a_column_of_numbers_is_no_text(spec: DataSpec):
    with pytest.raises(ValueError, match=r"hf:json, row 1: column 'id' holds int"):
        next(open_documents(dataclasses.replace(spec, column="id")))


def test_a_split_that_is_not_there_is_answered_with_those_that_are(spec: DataSpec):
    with pytest.raises(ValueError, match=r"test.*train.*data.split"):
        open_documents(dataclasses.replace(spec, split="test"))


def test_without_a_network_the_remedy_is_told(tmp_path: Path):
    code = (
        "from models.data import DataSpec, pack\n"
        "for values in ({'source': 'hf:some/dataset', 'config': 'part'}, {'tokenizer': 'gpt2'}):\n"
        "    try: pack(DataSpec(**values))\n"
        "    except ValueError as error: print(error)"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    seen = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, check=True, capture_output=True, text=True
    )
    dataset, tokenizer = seen.stdout.splitlines()
    assert "hf:some/dataset (part) cannot be read" in dataset
    assert "check the name and the network" in dataset
    assert "GPT-2's tokenizer cannot be had" in tokenizer
    assert "data.tokenizer_file=PATH" in tokenizer
