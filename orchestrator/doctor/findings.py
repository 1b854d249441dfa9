"""What the doctor says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How a check came out."""

    ok = "ok"
    warning = "warning"  # a campaign runs, and something is not as one may think
    failed = "failed"  # a campaign would not run, or not as configured


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check: of what, how it came out, and what to do about it."""

    verdict: Verdict
    subject: str  # "node 10.0.0.3", "pool verify", "storage"
    told: str
    remedy: str = ""

    def __str__(self) -> str:
        mark = {Verdict.ok: "ok  ", Verdict.warning: "warn", Verdict.failed: "FAIL"}[self.verdict]
        return f"{mark}  {self.subject}: {self.told}" + (f"\n      -> {self.remedy}" if self.remedy else "")


def ok(subject: str, told: str) -> Finding:
    """It is as it should be."""
    return Finding(verdict=Verdict.ok, subject=subject, told=told)


def warning(subject: str, told: str, remedy: str) -> Finding:
    """A campaign runs, and something is not as one may think."""
    return Finding(verdict=Verdict.warning, subject=subject, told=told, remedy=remedy)


def failed(subject: str, told: str, remedy: str) -> Finding:
    """A campaign would not run, or not as configured."""
    return Finding(verdict=Verdict.failed, subject=subject, told=told, remedy=remedy)


def healthy(findings: Iterable[Finding]) -> bool:
    """Nothing failed."""
    return all(finding.verdict is not Verdict.failed for finding in findings)
