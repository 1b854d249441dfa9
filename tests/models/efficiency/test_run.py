"""Measured for real: two jailed children in turn, at a size of milliseconds."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from cognition.records import Efficiency, FailureKind, Trial
from models.data import DataSpec
from models.efficiency.run import EfficiencyRun
from models.efficiency.settings import EfficiencySettings
from models.sandbox.parent import ForkServer
from models.scale import load_scale
from models.slots import TOKEN_MIXER, published_source
from models.trial_job import TrialJob
from tests.models.conftest import TOY

STAGE = load_scale("tiny").stages[-1]
QUICK = EfficiencySettings(lengths=(16, 200), repeats=2, block_s=0.001, deadline_s=600.0)


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    with ForkServer() as server:
        yield server


def _run(server: ForkServer, source: str, settings: EfficiencySettings = QUICK) -> tuple[Trial, tuple[Efficiency, ...]]:
    run = EfficiencyRun(_job(source, settings), server)
    return run.advance(), run.rows


def _job(source: str, settings: EfficiencySettings = QUICK) -> TrialJob:
    return TrialJob(
        trial_id="c-verify.efficiency-s101",
        candidate_id="c",
        source=source,
        slot=TOKEN_MIXER,
        stage=STAGE,
        seed=101,
        data=DataSpec(),
        efficiency=settings,
    )


def test_every_length_has_a_row_with_all_figures_beside_the_reference(server: ForkServer) -> None:
    trial, rows = _run(server, published_source(TOKEN_MIXER, "softmax_attention"))
    assert trial.succeeded, trial.detail
    assert (trial.scores, trial.loss) == ((), None)
    assert [row.length for row in rows] == [16, 200]
    assert [row.batch_size for row in rows] == [8, 1]  # 128 tokens a step, one sequence at least
    for row in rows:
        times = (row.train_tokens_s, row.prefill_s, row.decode_s, row.train_ratio, row.prefill_ratio, row.decode_ratio)
        assert all(value is not None and value > 0 for value in times), row
        assert (row.decode_form, row.memory, row.reference, row.detail) == ("step", "resident", "delta_net", "")
        assert row.train_peak_bytes is not None
        assert row.train_peak_bytes > 0
    assert [row.state_bytes for row in rows] == [2 * 2 * length * 32 * 4 for length in (16, 200)]
    assert rows[1].flops_per_token is not None
    assert rows[0].flops_per_token is not None
    assert rows[1].flops_per_token > rows[0].flops_per_token


def test_the_reference_itself_is_measured_alone(server: ForkServer) -> None:
    _, rows = _run(server, published_source(TOKEN_MIXER, "delta_net"))
    assert all(row.decode_s is not None and row.decode_ratio is None for row in rows)
    assert rows[0].state_bytes == rows[1].state_bytes


def test_what_offers_no_step_decodes_by_recomputing(server: ForkServer) -> None:
    _, rows = _run(server, TOY)
    assert [(row.decode_form, row.state_bytes) for row in rows] == [("recompute", None)] * 2
    assert all(row.decode_s is not None for row in rows)


def test_what_breaks_at_a_length_says_so_there_and_keeps_the_figures_of_others(server: ForkServer) -> None:
    broken = TOY.replace("    def forward(self, x):\n", "    def forward(self, x):\n        assert x.shape[1] < 100\n")
    assert broken != TOY
    trial, rows = _run(server, broken)
    assert trial.succeeded
    assert rows[0].prefill_s is not None
    assert (rows[1].prefill_s, rows[1].train_tokens_s) == (None, None)
    assert "AssertionError" in rows[1].detail


def test_a_child_that_ends_itself_is_its_own_failure(server: ForkServer) -> None:
    leaving = TOY.replace("    def forward(self, x):\n", "    def forward(self, x):\n        import os; os._exit(7)\n")
    trial, rows = _run(server, leaving)
    assert trial.succeeded
    assert all("exit code 7" in row.detail and row.prefill_s is None for row in rows)


def test_a_deadline_ends_what_hangs_in_a_row(server: ForkServer) -> None:
    hanging = TOY.replace("    def forward(self, x):\n", "    def forward(self, x):\n        while True: pass\n")
    _, rows = _run(server, hanging, replace(QUICK, lengths=(16,), deadline_s=2.0))
    assert "deadline" in rows[0].detail


def test_cancelled_from_another_thread_it_ends_without_a_row(server: ForkServer) -> None:
    hanging = TOY.replace("    def forward(self, x):\n", "    def forward(self, x):\n        while True: pass\n")
    run = EfficiencyRun(_job(hanging), server)
    timer = threading.Timer(1.0, run.cancel)
    timer.start()
    trial = run.advance()
    timer.join()
    assert (trial.failure, run.rows) == (FailureKind.cancelled, ())
