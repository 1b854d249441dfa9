"""Errors that are the user's to mend: shown as one line, exit code 2, no traceback."""

from __future__ import annotations


class UsageError(ValueError):
    """Bad input. The message says what, the value, and the remedy."""


class Fault(UsageError):
    """Something that is nobody's input failed: the same command goes on. Exit code 75 (EX_TEMPFAIL)."""


class BudgetReached(UsageError):
    """Something was not started because its worst cost no longer fits the budget."""


def reached(reason: str) -> str:
    """What a `BudgetReached` says."""
    return f"budget reached, {reason}: a larger one goes on from here"
