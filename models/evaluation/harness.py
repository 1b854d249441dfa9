"""lm-evaluation-harness on an exported model, in a process of its own.

That process loads the model with `trust_remote_code`: generated code runs there, outside of the jail, with the
caller's rights but without the caller's keys. What it reports it computes beside that code, so that the figures are
as honest as the model is; the sealed evaluation is the other kind (docs/trust.md).
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from models.evaluation.local_tasks import GROUP, STANDARD, local_names, write_tasks

STANDARD_GROUP = "standard"
_KEPT = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "SSL_CERT_FILE")
_KEPT_BEGINNINGS = ("HF_HOME", "HF_HUB_", "HF_DATASETS_", "HTTP", "http", "NO_PROXY", "no_proxy", "OMP_", "MKL_")
_SHOWN_CHARS = 600


class HarnessFailed(ValueError):
    """The harness ended without results; its last words are in the message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What the harness reported."""

    tasks: tuple[str, ...]
    results: Mapping[str, Mapping[str, Any]]  # task -> metric -> value, as the harness names them
    harness: str  # version
    limit: int | None


def task_names(asked: Sequence[str]) -> tuple[str, ...]:
    """Groups of ours opened up; everything else is the harness's to know."""
    groups = {GROUP: local_names(), STANDARD_GROUP: STANDARD}
    return tuple(dict.fromkeys(name for item in asked for name in groups.get(item, (item,))))


def evaluate(
    bundle: Path, tasks: Sequence[str], *, device: str = "cpu", batch_size: int = 16, limit: int | None = None
) -> Evaluation:
    """Run the tasks on a bundle, or on any folder that transformers loads.

    Raises:
        ValueError: the harness is not installed, or the folder is no model.
        HarnessFailed: it ended without results: an unknown task, no network, a model that does not load.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise ValueError(
            "lm-evaluation-harness is not installed: pip install 'architecture-research-orchestrator[eval]'"
        )
    if not (bundle / "config.json").is_file():
        raise ValueError(f"{bundle} is no model (it has no config.json): give a folder of orchestrator.export")
    names = task_names(tasks)
    with tempfile.TemporaryDirectory(prefix="evaluation-") as scratch:
        write_tasks(Path(scratch) / "tasks")
        out = Path(scratch) / "results"
        command = [sys.executable, "-P", "-m", "lm_eval", "run", "--model", "hf"]
        command += ["--model_args", f"pretrained={bundle.absolute()},trust_remote_code=True,dtype=float32"]
        command += ["--tasks", ",".join(names), "--include_path", str(Path(scratch) / "tasks")]
        command += ["--device", device, "--batch_size", str(batch_size), "--output_path", str(out)]
        command += ["--limit", str(limit)] if limit is not None else []
        environment = _environment(scratch, offline=set(names) <= set(local_names()))
        done = subprocess.run(command, env=environment, cwd=scratch, capture_output=True, text=True, check=False)
        files = sorted(out.rglob("results_*.json"))
        if done.returncode or not files:
            raise HarnessFailed(f"lm_eval ended with {done.returncode} and no results: {_last_words(done.stderr)}")
        told = json.loads(files[-1].read_text(encoding="utf-8"))
    return Evaluation(tasks=names, results=told["results"], harness=version("lm_eval"), limit=limit)


def _environment(scratch: str, *, offline: bool) -> dict[str, str]:
    """Without keys of models, clouds and trackers; code of models and generated data are cached in scratch."""
    kept = {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith(_KEPT_BEGINNINGS)}
    kept |= {"HF_MODULES_CACHE": f"{scratch}/modules", "TOKENIZERS_PARALLELISM": "false"}
    if offline:
        kept |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": f"{scratch}/datasets"}
    return kept


def _last_words(stderr: str) -> str:
    """The error itself, printable, and what usually helps."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if "Error" in line or "error" in line] or lines
    text = "".join(letter if letter.isprintable() else " " for letter in (errors[-1] if errors else "nothing was said"))
    return f"{text[:_SHOWN_CHARS]} (tasks by name are downloaded: without a network use --tasks {GROUP})"
