"""`python -m models`: list, check, train, bench and rank mixers, and pack data, without a campaign."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

from models.sandbox.parent import SandboxError

USAGE, INTERRUPTED = 2, 130

# Command -> its module in models.commands, imported when it is chosen (torch alone takes seconds), and what it does.
_COMMANDS = {
    "list": ("mixers", "name what is published here: baselines, discoveries"),
    "check": ("check", "run the policy and the gate on a file, jailed"),
    "train": ("train", "train one mixer at a scale and score it"),
    "rank": ("rank", "train every mixer on text and probes and rank them"),
    "bench": ("bench", "time mixers over sequence lengths: training, decoding, state"),
    "reproduce": ("reproduce", "train an exported candidate again and compare its figures"),
    "evaluate": ("evaluate", "run lm-evaluation-harness on an exported model"),
    "pack": ("pack", "pack a corpus into shards before it is needed, verify one, see what it holds"),
}


def main(arguments: list[str]) -> int:
    """Exit codes: 0 done, 1 refused or failed, 2 usage (also where no sandbox can be had), 130 interrupted."""
    options = _parser(arguments).parse_args(arguments)
    try:
        code: int = options.run(options)
    except (ValueError, SandboxError) as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    return code


def _parser(arguments: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m models", description="Mixers without a campaign.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (module, told) in _COMMANDS.items():
        command = commands.add_parser(name, help=told, formatter_class=argparse.RawTextHelpFormatter)
        if name in arguments[:1]:
            chosen = import_module(f"models.commands.{module}")
            chosen.add_arguments(command)
            command.set_defaults(run=chosen.run)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
