"""`python -m cognition`: ask a lineage, search and extend the library.

A campaign may be running meanwhile: nothing here takes a lock.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from cognition.commands import add, check, lineage, search, sql

_COMMANDS = {"sql": sql, "search": search, "lineage": lineage, "add": add, "check": check}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns the exit code: 0, or 2 with one line on stderr that says what to change."""
    parser = argparse.ArgumentParser(prog="python -m cognition", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, command in _COMMANDS.items():
        added = commands.add_parser(name, help=command.HELP, description=command.HELP)
        command.add_arguments(added)
        added.set_defaults(act=command.run)
    options = parser.parse_args(arguments)
    try:
        return int(options.act(options))
    except BrokenPipeError:
        # Whoever read us has seen enough (`| head`); a null device keeps the interpreter's last flush quiet.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.exit(main())
