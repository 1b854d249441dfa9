"""What a node says of itself, asked by a Ray task that is pinned to it."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from models.data import load_corpus
from models.sandbox.layer import Device
from models.sandbox.parent import SandboxError
from orchestrator.config import Settings
from orchestrator.doctor.storage import problem_with, sees
from orchestrator.facts import code_digest, versions

KEYS = ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY", "OPENAI_API_BASE")
_PATIENCE_S = 180.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One node of the cluster: what Ray knows of it, and what it says itself."""

    name: str  # its address, and its id where others have the same
    resources: Mapping[str, float]
    driver: bool  # this process runs on it
    facts: Facts | None = None
    silent: str = ""  # why it says nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """A node, as it finds itself."""

    python: str
    versions: Mapping[str, str | None]  # of packages
    code: str  # digest of the project's files
    gpus: Sequence[str]  # names of the cards that torch sees
    missing_layers: Sequence[str]  # of the jail, each with its reason
    sandbox_problem: str  # why no child could be started; empty: one was
    data_problem: str  # why the corpus cannot be read; empty: it can
    corpus: str  # its digest
    checkpoint_problem: str  # why the place of checkpoints cannot be written and read; empty: it can
    sees_marker: bool  # the file that the driver left where checkpoints go
    keys: Sequence[str]  # names of variables with keys or servers of models that are set
    scratch_free_gb: float


def ask_nodes(settings: Settings, place: str, marker: str) -> list[Node]:
    """Every node that Ray believes to be alive. `place`: where checkpoints go; `marker`: a file that is there."""
    asked: list[tuple[Node, Any]] = []
    here = ray.get_runtime_context().get_node_id()
    device: Device = "cuda" if any(pool.gpus > 0 for pool in settings.pools.values()) else "cpu"
    alive = [known for known in ray.nodes() if known["Alive"]]  # type: ignore[no-untyped-call]
    num_at = Counter(known["NodeManagerAddress"] for known in alive)
    for known in alive:
        address = known["NodeManagerAddress"]
        name = address if num_at[address] == 1 else f"{address} ({known['NodeID'][:6]})"  # several on one machine
        node = Node(name=name, resources=known["Resources"], driver=known["NodeID"] == here)
        on_it = NodeAffinitySchedulingStrategy(node_id=known["NodeID"], soft=False)
        on_gpu: Device = device if known["Resources"].get("GPU", 0) > 0 else "cpu"
        task: Any = ray.remote(facts_here)
        options = task.options(num_cpus=0, scheduling_strategy=on_it, max_retries=0)
        asked.append((node, options.remote(settings, on_gpu, place, marker)))
    give_up = time.monotonic() + _PATIENCE_S
    return [_answered(node, answer, max(1.0, give_up - time.monotonic())) for node, answer in asked]


def _answered(node: Node, answer: Any, timeout_s: float) -> Node:
    try:
        return replace(node, facts=ray.get(answer, timeout=timeout_s))
    except (ray.exceptions.RayError, TimeoutError) as error:
        return replace(node, silent=" ".join(str(error).split())[-300:] or type(error).__name__)


def facts_here(settings: Settings, device: Device, place: str, marker: str) -> Facts:
    """Of the node that this runs on."""
    missing, sandbox_problem = _layers(settings, device)
    data_problem, corpus = "", ""
    try:
        corpus = load_corpus(settings.data).digest
    except (ValueError, OSError) as error:
        data_problem = str(error)
    return Facts(
        python=platform.python_version(),
        versions=versions(),
        code=code_digest(),
        gpus=_cards(),
        missing_layers=missing,
        sandbox_problem=sandbox_problem,
        data_problem=data_problem,
        corpus=corpus,
        checkpoint_problem=problem_with(place),
        sees_marker=sees(place, marker),
        keys=[name for name in KEYS if os.environ.get(name)],
        scratch_free_gb=shutil.disk_usage(tempfile.gettempdir()).free / 1e9,
    )


def _layers(settings: Settings, device: Device) -> tuple[list[str], str]:
    server = settings.sandbox.fork_server(device)
    try:
        return [f"{layer.name} ({layer.detail})" for layer in server.layers() if not layer.in_force], ""
    except SandboxError as error:
        return [], str(error)
    finally:
        server.close()


def _cards() -> list[str]:
    import torch

    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
