"""Wheels out of folders into a virtual environment, without a network. Standard library only: nothing else is there.

A wheel may lie in parts, `NAME.whl.part0`, `NAME.whl.part1`, ..., over several folders. `listing.json` in each folder,
as benchmarks/gpu_campaign/wheels.py writes it, names every file of the whole set with its SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import site
import subprocess
import sys
import venv
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

LISTING = "listing.json"
_PART = re.compile(r"(?P<wheel>.+\.whl)\.part(?P<number>\d+)")
_CHUNK_BYTES = 1 << 20


class WheelsError(Exception):
    """What is wrong with the folders of wheels, and what to do about it."""


def join(folders: Sequence[Path], into: Path) -> list[Path]:
    """Every wheel of the folders, whole, in `into`; checked against the listing where there is one.

    Raises:
        WheelsError: a folder, part or wheel is missing, or a wheel is not what the listing says.
    """
    into.mkdir(parents=True, exist_ok=True)
    parts: dict[str, dict[int, Path]] = defaultdict(dict)
    listed: dict[str, str] = {}
    for folder in folders:
        if not folder.is_dir():
            raise WheelsError(f"--wheels names {folder}, which is no folder: give those that wheels.py has written")
        if (listing := folder / LISTING).is_file():
            listed.update(json.loads(listing.read_text()))
        for path in sorted(folder.iterdir()):
            if found := _PART.fullmatch(path.name):
                parts[found["wheel"]][int(found["number"])] = path
            elif path.suffix == ".whl":
                parts[path.name] = {0: path}
    if not parts:
        raise WheelsError(f"no wheel in {', '.join(map(str, folders))}: gather them with wheels.py")
    if missing := sorted(set(listed) - set(parts)):
        raise WheelsError(f"{', '.join(missing)}: listed and in none of the folders; give --wheels every folder")
    return [_joined(name, numbered, into, listed.get(name)) for name, numbered in sorted(parts.items())]


def _joined(name: str, numbered: dict[int, Path], into: Path, digest: str | None) -> Path:
    if lost := sorted(set(range(max(numbered) + 1)) - set(numbered)):
        raise WheelsError(f"{name} lacks part {', '.join(map(str, lost))}: give --wheels every folder")
    whole, seen = into / name, hashlib.sha256()
    with whole.open("wb") as file:
        for number in sorted(numbered):
            with numbered[number].open("rb") as part:
                while chunk := part.read(_CHUNK_BYTES):
                    seen.update(chunk)
                    file.write(chunk)
    if digest is not None and seen.hexdigest() != digest:
        whole.unlink()
        raise WheelsError(f"{name} is not the file that was listed: a part is missing or broken; gather it again")
    return whole


def environment(folder: Path) -> Path:
    """The interpreter of a virtual environment that sees the packages of this one; made where it is missing."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, system_site_packages=True, with_pip=False, symlinks=True)
        if sys.prefix != sys.base_prefix:  # this is one itself, whose packages "system" does not mean
            inner = next((folder / "lib").glob("python*/site-packages"))
            (inner / "outer.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    return python


def install(wheels: Sequence[Path], python: Path) -> None:
    """Have pip install these very versions; they hide what the outer environment has of the same name.

    Raises:
        WheelsError: pip fails; its last lines say why.
    """
    names = [f"{wheel.name.split('-')[0]}=={wheel.name.split('-')[1]}" for wheel in wheels]
    command = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "--disable-pip-version-check",
        "install",
        "--quiet",
    ]
    done = subprocess.run(
        [*command, "--no-index", "--no-compile", "--find-links", str(wheels[0].parent), *names],
        capture_output=True,
        text=True,
        env={**os.environ, "PIP_NO_INDEX": "1"},
    )
    if done.returncode:
        raise WheelsError(f"pip could not install the wheels: {done.stderr.strip()[-1_500:]}")


def prepared(folders: Sequence[Path], environment_folder: Path) -> Path:
    """The interpreter that has everything, installed from the folders. Raises WheelsError."""
    joined = environment_folder.with_name(f"{environment_folder.name}-wheels")
    try:
        wheels = join(folders, joined)
        python = environment(environment_folder)
        install(wheels, python)
    finally:
        shutil.rmtree(joined, ignore_errors=True)
    return python
