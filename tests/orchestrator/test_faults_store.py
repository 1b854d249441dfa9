"""A full disk, and a store that cannot be written for a while: whole campaigns on real file systems, and their rows."""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from cognition.manifest import read_manifest
from cognition.reader import Reader
from cognition.records import Event, Record, Trial
from orchestrator.campaign import Campaign
from orchestrator.outbox import REFUSED, TAKEN_AGAIN
from orchestrator.result import Result
from orchestrator.run_folder import RunFolder
from tests.orchestrator.small import events, ledger, run, trials


class Saboteur:
    """A view that breaks the store when so many trials are in, and mends it a while after that was noticed."""

    def __init__(
        self, break_it: Callable[[], None], mend: Callable[[], None], *, at: int, after_s: float | None = 1.0
    ) -> None:
        self._break, self._mend, self._at, self._after_s = break_it, mend, at, after_s
        self.lines: list[str] = []
        self.noticed = 0  # trials when it was
        self._num = 0

    def recorded(self, campaign: Campaign, record: Record) -> None:
        self._num += isinstance(record, Trial)
        if isinstance(record, Trial) and self._num == self._at:
            self._break()
        if isinstance(record, Event) and record.kind in (REFUSED, TAKEN_AGAIN):
            self.lines.append(record.kind)
            if record.kind == REFUSED and self._after_s is not None:
                self.noticed = self._num
                threading.Timer(self._after_s, self._mend).start()

    def started(self, campaign: Campaign) -> None: ...

    def tick(self, campaign: Campaign, running: Sequence[Any]) -> None: ...

    def ended(self, campaign: Campaign, result: Result) -> None: ...

    def failed(self) -> None: ...


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a small file system needs the right to mount one: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path) -> None:
    with (disk / "filler").open("wb", buffering=0) as filler:
        for size in (1 << 16, 1 << 8, 1):
            try:
                while filler.write(b"x" * size):
                    pass
            except OSError:
                continue


def assert_tidy(folder: Path) -> None:
    """Nothing beside what the manifest names."""
    manifest = read_manifest(folder / "lineage")
    named = {part.file for part in manifest.live()} | {file for entry in manifest.retired for file in entry.files}
    there = {p.relative_to(folder / "lineage").as_posix() for p in (folder / "lineage").rglob("*") if p.is_file()}
    assert there == named | {"manifest.json"}
    assert not [path for path in folder.iterdir() if path.suffix == ".tmp"]


def test_a_full_disk_ends_the_campaign_in_one_line_and_the_next_start_loses_nothing(
    undisturbed: Path, small_disk: Path
) -> None:
    """Nor are readers disturbed meanwhile."""
    folder = small_disk / "full"
    counts: list[int] = []

    def fill_and_read() -> None:
        fill(small_disk)
        counts.append(Reader(folder).query("SELECT count(*) FROM trials").rows[0][0])

    for_good = Saboteur(fill_and_read, lambda: None, at=3, after_s=None)
    result = run(folder, "flow.store_patience_s=2", views=[for_good])
    assert result.stopped_by is not None
    assert re.match(r"the store could not be written for \d+ s \(No space left on device", result.stopped_by)
    assert "\n" not in result.stopped_by
    assert for_good.lines == [REFUSED]
    assert_tidy(folder)
    kept = {trial.trial_id: trial.finished_at for trial in trials(folder)}
    assert len(kept) >= 2
    assert counts == [3]

    (small_disk / "filler").unlink()
    for_a_while = Saboteur(lambda: fill(small_disk), (small_disk / "filler").unlink, at=2)
    assert run(folder, views=[for_a_while]).stopped_by is None
    assert for_a_while.lines == [REFUSED, TAKEN_AGAIN]
    assert_tidy(folder)
    assert ledger(folder) == ledger(undisturbed)
    assert len({trial.trial_id for trial in trials(folder)}) == len(trials(folder))
    assert kept.items() <= {trial.trial_id: trial.finished_at for trial in trials(folder)}.items()


@pytest.mark.nightly
def test_a_store_that_goes_away_and_comes_back_is_waited_for(undisturbed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "away"
    lineage, elsewhere = folder / "lineage", folder / "elsewhere"
    saboteur = Saboteur(lambda: lineage.rename(elsewhere), lambda: elsewhere.rename(lineage), at=2, after_s=2.0)
    result = run(folder, views=[saboteur])
    assert result.stopped_by is None
    assert saboteur.lines == [REFUSED, TAKEN_AGAIN]
    assert ledger(folder) == ledger(undisturbed)
    assert_tidy(folder)
    # What costs waits until its intent is on disk: what began meanwhile had been asked for before.
    refused, again = events(folder, REFUSED)[0].created_at, events(folder, TAKEN_AGAIN)[0].created_at
    assert refused < again
    asked = {intent.subject: intent.created_at for intent in events(folder, "intent")}
    begun = [trial for trial in trials(folder) if refused < trial.started_at < again]
    assert all(asked[f"train/{trial.trial_id}"] < refused for trial in begun)


@pytest.mark.nightly
def test_a_stop_does_not_wait_for_a_store_that_stays_away(ray_here: None, tmp_path: Path) -> None:
    folder = tmp_path / "stopped"
    lineage, elsewhere = folder / "lineage", folder / "elsewhere"
    saboteur = Saboteur(
        lambda: lineage.rename(elsewhere), lambda: RunFolder(folder).ask_to_stop(0.0, at_once=True), at=2, after_s=0.5
    )
    # Longer than pytest waits: only the stop can end it.
    result = run(folder, "flow.store_patience_s=86400", views=[saboteur])
    assert result.stopped_by == "stop request"
    assert saboteur.lines == [REFUSED]
    elsewhere.rename(lineage)
    assert_tidy(folder)
    assert len(trials(folder)) == 2
