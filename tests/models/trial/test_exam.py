"""Examinations from the parent's side."""

import dataclasses

import pytest

from cognition.records import ReportKind
from models.sandbox.parent import ForkServer
from models.slots import published_source
from models.trial import ExamJob, examine

from .conftest import (
    HONEST,
    STAGE,
    with_forward,
)


def exam(source: str, deadline_s: float = 300) -> ExamJob:
    return ExamJob(
        candidate_id="c",
        number=3,
        attempt=1,
        source=source,
        slot="token_mixer",
        size=STAGE.size,
        length=STAGE.length,
        deadline_s=deadline_s,
    )


def test_an_honest_candidate_passes_the_gate(server: ForkServer) -> None:
    report = examine(exam(published_source("token_mixer", "delta_net")), server)
    assert report.kind is ReportKind.passed, report.detail
    assert (report.number, report.attempt) == (3, 1)
    assert report.properties
    assert all(item.passed for item in report.properties)
    assert report.fingerprint
    assert len(report.structure) == 128
    assert report.layout
    assert report.num_parameters
    assert report.ffn_width == STAGE.size.ffn_width
    assert report.flops_per_token
    assert report.duration_s > 0


@pytest.mark.parametrize(
    ("source", "kind", "words"),
    [
        (with_forward("x = x.roll(-1, 1)"), ReportKind.refused, ": "),
        ("1 / 0", ReportKind.refused, "contract: line 1"),
        (with_forward("os._exit(1)"), ReportKind.crashed, "exit code 1"),
        (with_forward("os.write(3, b'garbage')"), ReportKind.crashed, "broke the protocol"),
        (with_forward("while True: time.sleep(0.01)"), ReportKind.timeout, "deadline"),
        ("#" * (257 << 10), ReportKind.refused, "shorten it"),
    ],
)
def test_every_end_of_an_examination_is_a_report(server: ForkServer, source: str, kind: ReportKind, words: str) -> None:
    job = exam(source, deadline_s=2 if kind is ReportKind.timeout else 300)
    report = examine(dataclasses.replace(job, policy=False), server)
    assert report.kind is kind, report.detail
    assert words in report.detail


def test_the_policy_reads_a_source_before_anything_runs(server: ForkServer) -> None:
    report = examine(exam("import os\nwhile True: pass"), server)
    assert report.kind is ReportKind.refused
    assert report.detail.startswith("policy: line 1: import of os")
    assert [(item.name, item.figure, item.limit) for item in report.properties] == [("policy", 1, 0)]
    passed = examine(exam(published_source("token_mixer", "linear_attention")), server)
    assert passed.properties[0].name == "policy"
    assert passed.properties[0].passed


@pytest.mark.parametrize("changes", [{"deadline_s": 0.0}, {"length": 0}, {"slot": "attention"}])
def test_an_examination_that_makes_no_sense_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes)).split("_")[0]):
        dataclasses.replace(exam(HONEST), **changes)  # type: ignore[arg-type]
