"""`python -m orchestrator.stop runs/NAME`: ask a campaign's driver for a clean stop, and wait for it."""

from __future__ import annotations

import sys
import time

from orchestrator.errors import UsageError
from orchestrator.run_folder import RunFolder, wait_until_free

_WAIT_S = 60.0


def main(arguments: list[str]) -> int:
    """Exit codes: 0 stopped or not running, 1 still running after a minute, 2 bad input, or a full disk."""
    try:
        if len(arguments) != 1:
            raise UsageError(f"{len(arguments)} arguments given: use python -m orchestrator.stop runs/NAME")
        folder = RunFolder.existing(arguments[0])
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if (holder := folder.holder(time.time())) is None:
        print(f"{folder.path} is not running")
        return 0
    try:
        folder.ask_to_stop(time.time())
    except UsageError as error:
        print(f"error: {error}; kill -TERM {holder.pid} on {holder.host} asks for the same", file=sys.stderr)
        return 2
    if not wait_until_free(folder, _WAIT_S):
        print(f"{folder.path} has not stopped within {_WAIT_S:.0f} s; it will when it sees the request")
        return 1
    print(f"{folder.path} has stopped; the command that started it goes on from there")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
