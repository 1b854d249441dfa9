"""The wheels that a GPU box lacks, gathered where there is a network, in folders that are small enough to be carried.

    python -m benchmarks.gpu_campaign.wheels --out wheels
    python -m benchmarks.gpu_campaign.wheels --out wheels --python 3.12 --platform aarch64 --box torch numpy scipy

Writes `wheels/0`, `wheels/1`, ...: no folder larger than --folder-mib, larger wheels in parts, and in each folder a
listing of the whole set. Versions are those of constraints.txt. What a campaign without language models, W&B and text
from the hub does not import is left out, and so is what --box says is there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.gpu_campaign.install import LISTING

ROOT = Path(__file__).resolve().parents[2]
BOX = ("torch", "triton", "numpy", "einops", "transformers", "pytest")
NOT_NEEDED = ("litellm", "wandb", "pypdf")  # imported where a model is asked, W&B is told, a PDF is added
SOURCE_ONLY = ("antlr4-python3-runtime",)  # published without a wheel; plain Python, so that one built here will do
PLATFORMS = ("manylinux2014", "manylinux_2_17", "manylinux_2_26", "manylinux_2_27", "manylinux_2_28")
_MIB = 1 << 20


def name_of(requirement: str) -> str:
    """The project's normalised name in a requirement or in a wheel's file name."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0]).lower()


def needed(box: Iterable[str]) -> list[str]:
    """The project's own requirements, less what the box has and what such a campaign does not import."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        requirements = tomllib.load(file)["project"]["dependencies"]
    left_out = {name_of(name) for name in (*box, *NOT_NEEDED)}
    return [requirement for requirement in requirements if name_of(requirement) not in left_out]


def gather(into: Path, *, python: str, machine: str, box: Sequence[str], also: Sequence[str]) -> list[Path]:
    """Download every wheel of the closure, for another Python and machine, but for what the box has."""
    constraints = ROOT / "constraints.txt"
    pins = {name_of(line): line.strip() for line in constraints.read_text().splitlines() if "==" in line}
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    sources = [pins[name] for name in SOURCE_ONLY]
    subprocess.run([*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", str(into), *sources], check=True)
    target = ["--only-binary", ":all:", "--python-version", python, "--implementation", "cp"]
    for platform in PLATFORMS:
        target += ["--platform", f"{platform}_{machine}"]
    download = [*pip, "download", "--quiet", "--dest", str(into), "--find-links", str(into), *target]
    subprocess.run([*download, "--constraint", str(constraints), *needed(box), *also], check=True)
    there = {name_of(name) for name in box}
    for wheel in into.glob("*.whl"):
        if name_of(wheel.name.split("-")[0]) in there:
            wheel.unlink()
    return sorted(into.glob("*.whl"))


def packed(wheels: Sequence[Path], out: Path, folder_bytes: int) -> list[Path]:
    """Folders `out/0`, `out/1`, ... of at most so many bytes each, filled in turn; wheels are cut where one ends.

    Raises:
        ValueError: `out` holds something already.
    """
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"--out is {out}, which is not empty: choose another folder, or empty it")
    listing = json.dumps({wheel.name: _digest(wheel) for wheel in wheels}, indent=1).encode() + b"\n"
    room = folder_bytes - len(listing)
    if room < _MIB:
        raise ValueError(f"--folder-mib is {folder_bytes / _MIB:g}: give 2 or more")
    folders: list[Path] = []
    left = 0
    for wheel in wheels:
        data, number = wheel.read_bytes(), 0
        whole = len(data) <= left or (not left and len(data) <= room)
        while data:
            if not left:
                folders.append(out / str(len(folders)))
                folders[-1].mkdir(parents=True)
                (folders[-1] / LISTING).write_bytes(listing)
                left = room
            piece, data = data[:left], data[left:]
            name = wheel.name if whole else f"{wheel.name}.part{number}"
            (folders[-1] / name).write_bytes(piece)
            left, number = left - len(piece), number + 1
    return folders


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main(arguments: list[str] | None = None) -> int:
    """Gather, cut, list. Exit code 1: pip failed; 2: bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--python", default="3.11", help="the box's; default 3.11")
    parser.add_argument("--platform", default="x86_64", help="the box's machine: x86_64 or aarch64")
    parser.add_argument("--box", nargs="*", default=BOX, metavar="NAME", help=f"what it has: {' '.join(BOX)}")
    parser.add_argument(
        "--also", nargs="*", default=(), metavar="NAME", help="more packages, as flash-linear-attention"
    )
    parser.add_argument("--folder-mib", type=float, default=60.0, help="most of one folder; default 60")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        try:
            wheels = gather(
                Path(folder), python=options.python, machine=options.platform, box=options.box, also=options.also
            )
            folders = packed(wheels, options.out, int(options.folder_mib * _MIB))
        except subprocess.CalledProcessError as error:
            print(f"pip failed with exit code {error.returncode}: see above", file=sys.stderr)
            return 1
        except ValueError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        for wheel in wheels:
            print(f"{wheel.stat().st_size / _MIB:8.1f} MiB  {wheel.name}")
        total = sum(wheel.stat().st_size for wheel in wheels) / _MIB
    print(f"{len(wheels)} wheels, {total:.0f} MiB: --wheels {' '.join(map(str, folders))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
