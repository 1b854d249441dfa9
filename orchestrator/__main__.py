"""The command line: `python -m orchestrator +campaign=linear_attn [key=value ...]`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from models.data import DataSpec, in_memory, pack
from orchestrator.config import compose, known_campaigns, settings_from
from orchestrator.errors import Fault, UsageError

if TYPE_CHECKING:
    from orchestrator.result import Result

HELP = """\
python -m orchestrator +campaign=NAME [key=value ...]

Runs a campaign of architecture research to its end; the same command goes on after any interruption.

campaigns   {campaigns}
groups      scale=auto|cpu|tiny  selection=two_tier|mad_sigmoid|uniform
            llm=auto|none|local|openai|anthropic|gemini  arms=auto|llm|ablation|grammar|random|inbox|transcript|mix
            data=stdlib|folder|fineweb_edu  cluster=auto|local  tracking=auto|offline|online|none
often used  budget.candidates=48     more candidates (on a finished campaign: goes on)
            budget.usd=2             what language models may cost
            budget.gpu_hours=40      what trials may take (or budget.slot_hours)
            budget.wall=2h           how long this start may last: 45s, 90m, 2h, 1.5d
            llm.transcript=runs/OLD  play its recorded replies instead of asking models
            run.name=NAME            another folder under runs/
            run.fresh=true           another campaign beside an existing one
            deterministic=true       one seed gives one campaign, with any number of slots
            seed=1                   another campaign
            cluster.address=HOST:PORT  a Ray cluster (or RAY_ADDRESS)

--cfg job   print the whole configuration and exit
--help      this text

beside it   python -m orchestrator.status runs/NAME     how it stands
            python -m orchestrator.efficiency runs/NAME  what its best cost: speed, memory, state (docs/efficiency.md)
            python -m orchestrator.stop runs/NAME       a clean stop (--now: without finishing what is nearly done)
            python -m cognition sql "SELECT ..." --run runs/NAME
"""


def main(arguments: list[str]) -> int:
    """Exit codes: 0 finished, or stopped by request or by a limit, 2 bad input, 75 ended by a fault (the same command
    goes on), 130 Ctrl-C, 143 SIGTERM.
    """
    if "--help" in arguments or "-h" in arguments:
        print(HELP.format(campaigns=", ".join(known_campaigns())))
        return 0
    try:
        show = _takes_cfg(arguments)
        unknown = [a for a in arguments if a.startswith("-")]
        if unknown:
            raise UsageError(f"unknown option {unknown[0]}: known are --help and --cfg job; values go as key=value")
        values = compose(arguments)
        if show:
            return _show(values)
        settings = settings_from(values)
        _pack(settings.data)
        from orchestrator.campaign import Campaign
        from orchestrator.terminal import Terminal

        result = Campaign(settings, views=[Terminal()]).run()
        _report(result)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return os.EX_TEMPFAIL if isinstance(error, Fault) else 2
    except KeyboardInterrupt:
        return 130
    if result.fault:
        return os.EX_TEMPFAIL
    return {"SIGINT": 130, "SIGTERM": 143}.get(result.stopped_by or "", 0)


def _report(result: Result) -> None:
    """What it came to, in the run folder; a campaign is not worse for a report that could not be written."""
    from orchestrator.report.__main__ import write_report

    try:
        print(f"report      {write_report(str(result.folder))}")
    except (ValueError, OSError) as error:
        print(f"report      not written: {error}", file=sys.stderr)


def _takes_cfg(arguments: list[str]) -> bool:
    if "--cfg" not in arguments:
        return False
    place = arguments.index("--cfg")
    if arguments[place + 1 : place + 2] != ["job"]:
        raise UsageError("--cfg takes one value, job: --cfg job")
    del arguments[place : place + 2]
    return True


def _pack(data: DataSpec) -> None:
    """Have a large corpus packed before anything else, and show how far it is: it may take minutes, once."""
    if in_memory(data):
        return
    try:
        pack(data, tell=lambda line: print(line, file=sys.stderr, flush=True))
    except ValueError as error:
        raise UsageError(str(error)) from error


def _show(values: dict[str, object]) -> int:
    import yaml

    print(yaml.safe_dump(values, sort_keys=False), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
