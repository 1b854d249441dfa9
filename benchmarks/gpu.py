"""What a GPU does with a 20M trial: pieces in processes of their own, each within a time limit and saved at once.

    python benchmarks/gpu.py                    # every piece that has no result yet, or failed
    python benchmarks/gpu.py --part trainer     # one part, again
    python benchmarks/gpu.py --quick            # tiny sizes, on a CPU as well; prints only

    trainer     tokens/s, peak memory and model FLOPs utilisation of a 20M trial, way by way (benchmarks/gpu_ways.py)
    kernels     fused path fusion and two-scale FIR against torch.compile (benchmarks/gpu_kernels.py)
    ranks       tokens/s of a 20M trial on one, two, four ... GPUs of this node (benchmarks/gpu_ranks.py)
    lengths     training and decoding throughput and state of everything published, T = 1k to 32k, mixer by mixer
    tests       the tests marked gpu

Most telling pieces come first, and a kill loses the piece under way alone. A piece that fails or takes too long is
written down with the reason, does not stop the others, and is tried again by the next run.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.machine import RESULTS, write_result
from models.slots import slot_named

ROOT = Path(__file__).resolve().parents[1]
LIMIT_S = 510.0  # of a piece: many a place lends its GPU for ten minutes at a time
WAYS = ("ours", "fla in a plain loop", "the original way", "ours, not compiled")  # of benchmarks/gpu_ways.py
OPERATORS = ("path_fusion", "two_scale_fir")  # of benchmarks/gpu_kernels.py
RANKS = (1, 2, 4, 8)
_TOLD = 400  # lines of a piece's output that the reason of its failure is looked for in


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A command that writes its figures as JSON to the file named behind it; with `out` None it is its exit code."""

    name: str
    command: Sequence[str]
    out: str | None = "--out"


Outcome = dict[str, Any]  # a piece's figures, or `failed` with the reason; and `seconds`


def pieces(part: str, quick: bool, device: str) -> list[Piece]:
    """Of a part, most telling first."""
    python, small = sys.executable, ["--quick"] * quick
    if part == "trainer":
        script = str(ROOT / "benchmarks" / "gpu_ways.py")
        ways = [way for way in WAYS if device == "cuda" or not way.startswith("fla")]  # fla's kernels need a GPU
        return [Piece(name=way, command=[python, script, "--way", way, *small]) for way in ways]
    if part == "kernels":
        script = str(ROOT / "benchmarks" / "gpu_kernels.py")
        out = None if quick else "--out"
        commands = {operator: [python, script, "--operator", operator, *small] for operator in OPERATORS}
        return [Piece(name=operator, command=command, out=out) for operator, command in commands.items()]
    if part == "ranks":
        import torch  # here: of what runs the pieces, this part alone asks how many devices there are

        num_devices = 2 if quick else torch.cuda.device_count()
        script = str(ROOT / "benchmarks" / "gpu_ranks.py")
        numbers = [num for num in RANKS if num <= num_devices] if num_devices > 1 else []
        commands = {num: [python, script, "--processes", str(num), *small] for num in numbers}
        return [Piece(name=f"{num} processes", command=command) for num, command in commands.items()]
    if part == "lengths":
        slot = slot_named("token_mixer")
        names = sorted(slot.published, key=lambda name: name != slot.reference)[: 2 if quick else None]
        wide = "--lengths 1024 4096 16384 32768 --tokens 32768 --hidden-size 1024 --dtype bfloat16"
        tiny = "--lengths 64 --tokens 64 --hidden-size 32 --num-heads 2"
        sizes = [*(tiny if quick else wide).split(), "--device", device]
        return [Piece(name=name, command=[python, "-m", "models", "bench", "--mixers", name, *sizes]) for name in names]
    command = [python, "-m", "pytest", "-q", "-rs", "-m", "gpu", "tests/kernels", "tests/models"]
    return [Piece(name="gpu", command=[*command, "-p", "no:cacheprovider", *["--collect-only"] * quick], out=None)]


PARTS = ("trainer", "kernels", "ranks", "lengths", "tests")


def run_part(part: str, todo: Sequence[Piece], earlier: Mapping[str, Outcome], save: Any, limit_s: float) -> int:
    """Run the pieces that have no figures in `earlier`, call `save` with all outcomes after each; how many failed."""
    outcomes = dict(earlier)
    failed = 0
    for piece in todo:
        if done(outcomes.get(piece.name)):
            print(f"{part}, {piece.name}: has a result, left alone")
            continue
        print(f"== {part}, {piece.name}", flush=True)
        outcomes[piece.name] = run_piece(piece, limit_s)
        if not done(outcomes[piece.name]):
            failed += 1
            print(f"{part}, {piece.name}: FAILED: {outcomes[piece.name]['failed']}", flush=True)
        save(outcomes)
    return failed


def done(outcome: Outcome | None) -> bool:
    """There are figures; a failure is none."""
    return outcome is not None and "failed" not in outcome


def run_piece(piece: Piece, limit_s: float) -> Outcome:
    """Its figures, or why there are none. Its output is shown as it comes; beyond the limit all its processes end."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "figures.json"
        where = [] if piece.out is None else [piece.out, str(out)]
        late = threading.Event()
        lines: deque[str] = deque(maxlen=_TOLD)
        with subprocess.Popen(
            [*piece.command, *where],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as process:
            timer = threading.Timer(limit_s, lambda: (late.set(), _end(process)))
            timer.start()
            try:
                assert process.stdout is not None
                for line in process.stdout:
                    print(line, end="", flush=True)
                    lines.append(line)
                code = process.wait()
            finally:
                timer.cancel()
                _end(process)
        found: Outcome = {"seconds": round(time.monotonic() - begun, 1)}
        if late.is_set():
            return {"failed": f"took longer than {limit_s:g} s", **found}
        if code:
            return {"failed": reason("".join(lines)) or f"exit code {code}", "exit_code": code, **found}
        if piece.out is None:
            return {"tail": [line.rstrip() for line in lines][-8:], **found}
        try:
            figures = json.loads(out.read_text())
        except (OSError, ValueError) as error:
            return {"failed": f"left no figures: {error}", **found}
        return {**(figures if isinstance(figures, dict) else {"rows": figures}), **found}


def reason(output: str) -> str:
    """The last line of the last traceback, first line of its message; without one, the last line."""
    lines = [line for line in output.splitlines() if line.strip()]
    starts = [number for number, line in enumerate(lines) if line.startswith("Traceback ")]
    behind = [line for line in lines[starts[-1] + 1 :] if not line[0].isspace()] if starts else lines[-1:]
    return behind[0].strip()[:300] if behind else ""


def summary(part: str, outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    """What the pieces say together: how much faster ours is than each other way, or several GPUs are than one."""
    speed = {name: outcome["tokens_s"] for name, outcome in outcomes.items() if outcome.get("tokens_s")}
    alone = f"{RANKS[0]} processes"
    if part == "ranks" and alone in speed:
        return {"speedup": {name: round(speed[name] / speed[alone], 2) for name in speed if name != alone}}
    if part != "trainer" or "ours" not in speed:
        return {}
    return {"ratios": {f"ours / {name}": round(speed["ours"] / speed[name], 2) for name in speed if name != "ours"}}


def earlier_outcomes(path: Path, device: str) -> dict[str, Outcome]:
    """Of the same part on the same device; nothing where the file is missing, torn or of another shape."""
    try:
        figures = json.loads(path.read_text())["figures"]
        return dict(figures["pieces"]) if figures["device"] == device else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _end(process: subprocess.Popen[str]) -> None:
    """The piece and whatever it started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def main(arguments: list[str] | None = None) -> int:
    """Run what is asked for or missing. Exit code 1: something failed, or there is no GPU."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, action="append", help="again, whatever results there are")
    parser.add_argument("--quick", action="store_true", help="tiny sizes; prints only")
    parser.add_argument("--results", type=Path, default=RESULTS / "gpu", help="folder of <part>.json")
    parser.add_argument("--limit-s", type=float, default=LIMIT_S, help="seconds that a piece may take")
    options = parser.parse_args(arguments)
    import torch  # here: the pieces are other processes, and what runs them needs none of it

    cuda = torch.cuda.is_available()
    if not cuda and not options.quick:
        print("no CUDA device: nothing was measured (--quick shows that the script runs)")
        return 1
    device = torch.cuda.get_device_name() if cuda else "no GPU"
    failed = 0
    for part in options.part or PARTS:
        path = options.results / f"{part}.json"
        earlier = {} if options.part or options.quick else earlier_outcomes(path, device)

        def save(outcomes: Mapping[str, Outcome], part: str = part) -> None:
            told = summary(part, outcomes)
            print("  ".join(f"{key} {value}" for key, value in told.items()), flush=True)
            if not options.quick:
                figures = {"device": device, "pieces": dict(outcomes), **told}
                print(f"written: {write_result(part, figures, options.results)}", flush=True)

        failed += run_part(part, pieces(part, options.quick, "cuda" if cuda else "cpu"), earlier, save, options.limit_s)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
