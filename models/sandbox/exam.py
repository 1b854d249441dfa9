"""The gate from the parent's side: one child examines one candidate, and whatever becomes of it is a Report.

Not guaranteed: that figures, fingerprint and structure are true, since the candidate's code runs in the process that
measures them. The sealed evaluation of a trial counts parameters and audits causality again, where a candidate cannot
reach.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

from cognition.records import FailureKind, Property, Report, ReportKind
from models.policy import check
from models.sandbox import wire
from models.sandbox.parent import Child, ForkServer, SandboxError
from models.sandbox.sealed import TrialError, expect, talking
from models.sandbox.wire import Json, Message
from models.scale import ModelSize
from models.slots import Slot, slot_named

MAX_SOURCE_BYTES = 256 << 10
_MAX_PROPERTIES = 100
_MAX_FINGERPRINT = 1_024
_MAX_STRUCTURE = 1_024
_MAX_LAYOUT = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamJob:
    """An examination that is wanted: one attempt of one candidate."""

    candidate_id: str
    number: int
    attempt: int
    source: str
    slot: str
    size: ModelSize
    length: int  # tokens at which FLOPs per token are counted
    deadline_s: float
    policy: bool = True  # read the source before it runs
    thorough: bool = False  # at longer lengths too

    def __post_init__(self) -> None:
        slot_named(self.slot)
        if self.length < 1:
            raise ValueError(f"length is {self.length}; give the exploration length in tokens")
        if not 0 < self.deadline_s < math.inf:
            raise ValueError(f"deadline_s is {self.deadline_s}; give a number of seconds above 0")


def examine(job: ExamJob, server: ForkServer, *, last_try: bool = True) -> Report:
    """Read a candidate and run the gate on it: passed, refused, crashed or timeout.

    `last_try`: a child that somebody killed counts as crashed; otherwise it is a SandboxError, to be tried again.

    Raises SandboxError when no child could be had, which says nothing about the candidate.
    """
    created_at, began = time.time(), time.monotonic()
    server.start()

    @contextmanager
    def spawn(task: str, body: Mapping[str, Json]) -> Iterator[Child]:
        with server.spawn(task, body, deadline_s=job.deadline_s) as child:
            yield child

    def report(kind: ReportKind, detail: str = "", found: _Findings | None = None) -> Report:
        found = found or _Findings()
        return Report(
            candidate_id=job.candidate_id,
            number=job.number,
            attempt=job.attempt,
            kind=kind,
            detail=detail,
            properties=found.properties,
            fingerprint=found.fingerprint,
            structure=found.structure,
            layout=found.layout,
            num_parameters=found.num_parameters,
            ffn_width=found.ffn_width,
            flops_per_token=found.flops_per_token,
            state_bytes=found.state_bytes,
            duration_s=time.monotonic() - began,
            created_at=created_at,
        )

    if problem := source_problem(job.source):
        return report(ReportKind.refused, problem)
    read = check(job.source) if job.policy else None
    if read is not None and not read.passed:
        return report(ReportKind.refused, f"policy: {read.detail}", _Findings(properties=(read,)))
    told: dict[str, Json] = {
        "source": job.source,
        "slot": job.slot,
        "size": asdict(job.size),
        "length": job.length,
        "thorough": job.thorough,
    }
    try:
        with talking(spawn, "examine", told) as child:
            found = _findings(expect(child, "examined"), slot_named(job.slot))
        if read is not None:
            found = replace(found, properties=(read, *found.properties))
    except TrialError as error:
        if error.kind is FailureKind.worker_died or (error.kind is FailureKind.killed and not last_try):
            raise SandboxError(error.detail) from error
        timed_out = error.kind is FailureKind.timeout
        return report(ReportKind.timeout if timed_out else ReportKind.crashed, error.detail)
    failed = next((item for item in found.properties if not item.passed), None)
    if failed is not None:
        return report(ReportKind.refused, f"{failed.name}: {failed.detail}", found)
    return report(ReportKind.passed, found=found)


def source_problem(source: str) -> str | None:
    """Why a source text cannot even be sent to a child; None if it can."""
    num_bytes = len(source.encode("utf-8", "surrogatepass"))
    if num_bytes > MAX_SOURCE_BYTES:
        return f"the source has {num_bytes} bytes, the limit is {MAX_SOURCE_BYTES}: shorten it"
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Findings:
    properties: tuple[Property, ...] = ()
    fingerprint: tuple[float, ...] = ()
    structure: tuple[float, ...] = ()
    layout: str = ""
    num_parameters: int | None = None
    ffn_width: int | None = None
    flops_per_token: float | None = None
    state_bytes: int | None = None


def _findings(message: Message, slot: Slot) -> _Findings:
    """What the child found, checked for type and size. Raises wire.MalformedError."""
    rows, fingerprint, structure = message.rows("properties"), message.reals("fingerprint"), message.reals("structure")
    if not 0 < len(rows) <= _MAX_PROPERTIES or len(fingerprint) > _MAX_FINGERPRINT or len(structure) > _MAX_STRUCTURE:
        raise wire.MalformedError(
            f"{len(rows)} properties, a fingerprint of {len(fingerprint)} numbers and a structure of {len(structure)}"
        )
    if any(value < 0 for value in structure):
        raise wire.MalformedError("a structure with counts below 0")
    properties = tuple(_property(Message(kind="property", body=row)) for row in rows)
    names = [item.name for item in properties]
    if len(set(names)) != len(names) or not set(names) <= {*slot.properties, *slot.offered}:
        expected = ", ".join(slot.properties)
        raise wire.MalformedError(f"properties {', '.join(names)[:200]}, expected each of {expected} once")
    if all(item.passed for item in properties) and not set(slot.properties) <= set(names):
        raise wire.MalformedError("a report that passed without every property")
    return _Findings(
        properties=properties,
        fingerprint=fingerprint,
        structure=structure,
        layout=message.text("layout", limit=_MAX_LAYOUT),
        num_parameters=message.optional_integer("num_parameters"),
        ffn_width=message.optional_integer("ffn_width"),
        flops_per_token=message.optional_real("flops_per_token"),
        state_bytes=message.optional_integer("state_bytes"),
    )


def _property(row: Message) -> Property:
    return Property(
        name=row.text("name", limit=80),
        passed=row.body.get("passed") is True,
        figure=row.optional_real("figure"),
        limit=row.optional_real("limit"),
        detail=row.text("detail", limit=4_000),
    )
