"""A jailed campaign on one GPU that is lent for minutes at a time, and all that a machine without one cannot show.

    python -m benchmarks.gpu_campaign --wheels wheels/0 wheels/1 wheels/2 --out gpu_out --minutes 8
    python -m benchmarks.gpu_campaign --out gpu_out --device cpu --minutes 6      # everything is installed here

Needs Python, torch, triton, numpy, einops and the folders of wheels that benchmarks/gpu_campaign/wheels.py gathers.
Each part is a process of its own, most telling first, and leaves OUT/parts/NAME.json. What has been measured on this
device is left alone, so that several short lends add up, as long as OUT is brought along. OUT/report.md says of every
part what it found, why it failed, or that it has not been run.

    child      a training in a jailed, forked child that meets CUDA there: losses as outside of the jail
    compile    Triton and Inductor in the jail: times, caches, processes
    memory     two trials share a card, one takes more than its share
    cost       step time in the jail against outside
    shared     candidates an hour against trials at once on one card
    campaign   founders, grammar, early stopping, verification at a larger size; goes on where it stopped
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.gpu_campaign import PARTS
from benchmarks.gpu_campaign.install import WheelsError, prepared

# Standard library alone up to `main`'s last lines: nothing is installed before.
ROOT = Path(__file__).resolve().parents[2]
_BEGUN = "GPU_CAMPAIGN_BEGUN"  # seconds since the epoch: installing counts


def main(arguments: list[str] | None = None) -> int:
    """Install if asked to, run what is missing, write the report. Exit codes: 0, 1 a part failed, 2 bad input."""
    given = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="everything that is to be kept")
    parser.add_argument(
        "--wheels", type=Path, nargs="+", default=(), metavar="FOLDER", help="installed from here first"
    )
    parser.add_argument(
        "--venv", type=Path, default=Path(tempfile.gettempdir(), "gpu_campaign"), help="installed there"
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--minutes", type=float, default=8.0, help="for everything, installing included; default 8")
    parser.add_argument("--part", choices=PARTS, action="append", help="this one alone, again; may be repeated")
    options = parser.parse_args(given)
    if options.minutes <= 0:
        parser.error(f"--minutes is {options.minutes:g}: give a number above 0")
    begun = float(os.environ.setdefault(_BEGUN, str(time.time())))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    if options.wheels and Path(sys.prefix).resolve() != options.venv.resolve():
        try:
            python = prepared(options.wheels, options.venv)
        except WheelsError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        print(f"installed in {time.time() - begun:.0f} s: {python}", flush=True)
        os.execv(python, [str(python), "-m", "benchmarks.gpu_campaign", *given])
    os.environ.pop(_BEGUN)
    from benchmarks.gpu_campaign.plan import run_parts
    from benchmarks.gpu_campaign.report import write_report
    from models.commands.trials import require_device

    try:
        require_device(options.device)
        options.out.mkdir(parents=True, exist_ok=True)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    out = options.out.resolve()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the part under way ends with this process
    failed = run_parts(out, options.device, begun + 60 * options.minutes, options.part)
    print(f"report: {write_report(out)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
