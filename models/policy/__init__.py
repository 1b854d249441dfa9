"""The static policy: what a candidate's text may not contain, found by reading its syntax tree. Nothing is executed."""

from models.policy.inspection import MAX_SOURCE_BYTES, Violation, check, violations

__all__ = ["MAX_SOURCE_BYTES", "Violation", "check", "violations"]
