"""Places that the doctor writes to: the same file, written, seen and removed, on disk and in an object store."""

from __future__ import annotations

from pathlib import Path

import pytest

from cognition.folders import folder_at
from orchestrator.doctor.storage import left_at, problem_with, sees
from tests.object_store import ObjectStore


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, object_store: ObjectStore) -> str:
    return str(tmp_path / "runs") if request.param == "local" else object_store.uri("doctor")


def test_a_place_that_works_is_left_as_it_was(place: str) -> None:
    assert problem_with(place) == ""
    with left_at(place, "marker"):
        assert sees(place, "marker")
        assert not sees(place, "another")
    assert not sees(place, "marker")
    assert folder_at(place).files() == []


def test_a_place_that_is_not_there_is_told(tmp_path: Path, object_store: ObjectStore) -> None:
    file = tmp_path / "file"
    file.write_text("")
    missing = object_store.uri("x").replace("s3://", "s3://no-such-")
    for place, told in ((str(file), "FileExistsError"), (missing, "OSError"), ("ftp://host/x", "ftp")):
        assert told in problem_with(place)
        assert not sees(place, "marker")
        with left_at(place, "marker"):
            assert not sees(place, "marker")
