"""After a suite with failures: those tests once more, alone. `python -m tests.again EXIT_CODE`.

Two workers load a small machine, and a test of real processes may then fail for want of time. What fails alone as
well is broken. What passes alone is unsteady: a defect of the test, or a race of ours that only load shows. It is
named at the end with its first failure above, and wants mending; it does not fail the suite. Where more than a few
failed it is not for want of time, and nothing is tried again.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

MOST = 3  # that may have failed
_FAILED = Path(".pytest_cache", "v", "cache", "lastfailed")  # where pytest keeps their names


def main(arguments: list[str]) -> int:
    """The suite's exit code, or 0 where everything that had failed passes alone."""
    code = int(arguments[0])
    if code != pytest.ExitCode.TESTS_FAILED or not _FAILED.exists():
        return code
    failed = sorted(json.loads(_FAILED.read_text()))
    if not 0 < len(failed) <= MOST:
        return code
    print(f"once more, alone: {', '.join(failed)}", flush=True)
    again = int(pytest.main([*failed, "-p", "no:cacheprovider"]))
    if again == pytest.ExitCode.OK:
        print(f"UNSTEADY, failed beside others and passed alone: {', '.join(failed)}")
    return again


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
