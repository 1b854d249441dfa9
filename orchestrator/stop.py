"""`python -m orchestrator.stop runs/NAME [--now]`: ask a campaign's driver for a clean stop, and wait for it."""

from __future__ import annotations

import sys
import time

from orchestrator.errors import UsageError
from orchestrator.run_folder import RunFolder, wait_until_free
from orchestrator.stopping import PATIENCE

_WAIT_S = 60.0  # beside what is still finished
_AT_ONCE = "--now"


def main(arguments: list[str]) -> int:
    """Exit codes: 0 stopped or not running, 1 still running a minute after its grace, 2 bad input, or a full disk."""
    at_once, paths = _AT_ONCE in arguments, [argument for argument in arguments if argument != _AT_ONCE]
    try:
        if len(paths) != 1 or paths[0].startswith("-"):
            raise UsageError(
                f"{' '.join(arguments) or 'nothing'} given: use python -m orchestrator.stop runs/NAME [{_AT_ONCE}]"
            )
        folder = RunFolder.existing(paths[0])
        grace_s = 0.0 if at_once else float(folder.settings()["flow"]["grace_s"])
        holder = folder.holder(time.time())
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if holder is None:
        print(f"{folder.place} is not running")
        return 0
    try:
        folder.ask_to_stop(time.time(), at_once=at_once)
    except UsageError as error:
        print(f"error: {error}; kill -TERM {holder.pid} on {holder.host} asks for the same", file=sys.stderr)
        return 2
    wait_s = _WAIT_S + PATIENCE * grace_s
    if not wait_until_free(folder, wait_s):
        print(f"{folder.place} has not stopped within {wait_s:.0f} s; it will when it sees the request")
        return 1
    print(f"{folder.place} has stopped; the command that started it goes on from there")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
