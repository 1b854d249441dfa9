"""A clock that is set by hours, both ways, while a campaign runs: no figure of it may change. Real processes."""

from __future__ import annotations

import struct
import time
from itertools import pairwise
from pathlib import Path

import pytest

from cognition.reader import Reader
from cognition.records import Event, Metric, Report, Trial
from orchestrator.run_folder import RunFolder
from tests.orchestrator.processes import campaign
from tests.orchestrator.small import SMALL, ledger, trials

_PATIENCE_S = 600  # pytest's own time-out comes first, unless it is told to wait

# Found by every Python that the campaign starts: the driver, Ray's workers, fork servers.
JUMPING = """
import mmap, os, struct, time
with open(os.environ["CLOCK_OFFSET"], "rb") as _file:
    _offset = mmap.mmap(_file.fileno(), 8, access=mmap.ACCESS_READ)
_real = time.time
time.time = lambda: _real() + struct.unpack("d", _offset)[0]
"""


@pytest.mark.nightly
def test_a_clock_that_is_set_changes_no_figure_and_stops_nothing(undisturbed: Path, tmp_path: Path) -> None:
    offset = tmp_path / "offset"
    offset.write_bytes(struct.pack("d", 0.0))
    (tmp_path / "sitecustomize.py").write_text(JUMPING)
    environment = {"PYTHONPATH": str(tmp_path), "CLOCK_OFFSET": str(offset)}
    folder = tmp_path / "jumping"
    with campaign(folder, *SMALL, "budget.wall=2h", environment=environment) as running:
        for num, hours in ((1, 5.0), (3, -9.0), (5, 30.0), (7, -1.0)):
            running.wait_for(lambda num=num: len(trials(folder)) >= num, _PATIENCE_S)
            with offset.open("r+b") as file:
                file.write(struct.pack("d", hours * 3600))
            if num < 7:  # after the last jump the campaign may be over at any moment
                assert RunFolder(folder).holder(time.time() + 3600) is not None
        code, told = running.end(_PATIENCE_S)
    assert (code, "Traceback" in told) == (0, False), told
    assert ledger(folder) == ledger(undisturbed)

    reader = Reader(folder)
    stamps = [event.created_at for event in reader.rows(Event)]
    assert min(after - before for before, after in pairwise(stamps)) < -3600, "the processes saw no jump"
    for trial in reader.rows(Trial):
        assert trial.succeeded
        assert trial.started_at <= trial.first_step_at <= trial.finished_at
        assert 0 <= trial.train_s <= trial.slot_s < 3600
        assert trial.slot_s == trial.finished_at - trial.started_at
        points = [metric for metric in reader.rows(Metric) if metric.trial_id == trial.trial_id]
        assert all(0 < point.elapsed_s <= trial.slot_s for point in points)
        assert all(a.elapsed_s <= b.elapsed_s for a, b in pairwise(points))
    assert all(0 <= report.duration_s < 3600 for report in reader.rows(Report))
