from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cognition.folders import Folder, LocalFolder, at_once, folder_at
from cognition.records import ChargeOutcome, Record, ReportKind
from cognition.schema import TABLES
from cognition.store import Store
from tests.cognition.factories import (
    make_candidate,
    make_charge,
    make_claim,
    make_event,
    make_insight,
    make_metric,
    make_report,
    make_trial,
    make_verdict,
)


@pytest.fixture(scope="session")
def finished_campaign(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Record]]:
    """A run with a baseline, two descendants, a refusal, a failure and a claim; its folder and records in order."""
    folder = tmp_path_factory.mktemp("campaign") / "run"
    baseline = make_candidate(0, arm="baseline")
    child = make_candidate(1, parent=baseline)
    grandchild = make_candidate(2, parent=child)
    refused = make_candidate(3, parent=child, arm="random")
    failed = make_candidate(4, parent=child, arm="random")
    curve = make_trial(child)
    records: list[Record] = [
        baseline,
        make_report(baseline),
        make_trial(baseline),
        make_trial(baseline, seed=1),
        make_verdict(baseline, 0.5),
        child,
        make_report(child),
        make_metric(curve, 1),
        make_metric(curve, 2, loss=9.0),
        make_metric(curve, 2, loss=2.75),
        curve,
        make_verdict(child, 0.7, loss=2.4),
        make_insight(child, baseline),
        grandchild,
        make_report(grandchild),
        make_trial(grandchild, loss=2.3),
        make_verdict(grandchild, 0.9, loss=2.3),
        make_claim(grandchild, baseline),
        refused,
        make_report(refused, ReportKind.refused),
        failed,
        make_report(failed),
        make_trial(failed, loss=None, slot_s=3.0),
        make_charge(failed, slot_s=1.0, outcome=ChargeOutcome.lost),
        make_charge(failed, slot_s=3.0, num_gpus=2.0, outcome=ChargeOutcome.failed, started_at=5.0),
        make_charge(baseline, slot_s=36.0, num_gpus=0.5),
        make_charge(baseline, slot_s=36.0, seed=1),
        make_verdict(failed, None, loss=None),
        make_event(1),
    ]
    with Store.open(folder) as store:
        for first in range(0, len(records), 4):
            store.append(*records[first : first + 4])
    return folder, records


@pytest.fixture
def campaign(finished_campaign: tuple[Path, list[Record]], tmp_path: Path) -> tuple[Path, list[Record]]:
    """The test's own copy of that run."""
    folder, records = finished_campaign
    shutil.copytree(folder, tmp_path / "run")
    return tmp_path / "run", records


@pytest.fixture(scope="session", params=["disk", "object store"])
def new_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Folder]:
    """Makes run folders, in each of the places that a store may lie in."""
    if request.param == "disk":
        return lambda: LocalFolder(tmp_path_factory.mktemp("runs") / "run")
    object_store = request.getfixturevalue("object_store")
    return lambda: folder_at(object_store.uri())


@pytest.fixture
def folder(new_folder: Callable[[], Folder]) -> Folder:
    """An empty run folder."""
    return new_folder()


@pytest.fixture
def stored(
    finished_campaign: tuple[Path, list[Record]], new_folder: Callable[[], Folder]
) -> tuple[Folder, list[Record]]:
    """The test's own copy of that run, in either place."""
    source, records = finished_campaign
    folder = new_folder()
    lineage = folder.within("lineage")
    lineage.create(*TABLES)
    at_once(
        8,
        lambda file: lineage.write(file, (source / "lineage" / file).read_bytes()),
        LocalFolder(source / "lineage").files(),
    )
    return folder, records


@pytest.fixture
def clock() -> Callable[[], float]:
    """A clock that stands still until its `seconds` are set."""

    class Clock:
        seconds = 1000.0

        def __call__(self) -> float:
            return self.seconds

    return Clock()
