"""What confined children run. All but `score` execute candidate code, so that their messages are claims, not facts.

Each task reads its "start" message and answers with the messages listed in its docstring; what it raises becomes
"failed" (models.sandbox.child). `score` runs trusted code alone, in a child that never loads a candidate.

Shapes: B batch, T time, D model width, V vocabulary, N windows.
"""

from __future__ import annotations

import importlib
import json
import math
import resource
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace

import einops  # noqa: F401  preloaded for candidates
import numpy as np
import torch
from torch import nn

import kernels.dispatch  # noqa: F401  preloaded for candidates
from models import canary, fla_standin, probes, properties, training
from models.backbone import (
    CannotFit,
    LanguageModel,
    build,
    fit_ffn_width,
    host_mixer,
    host_mixer_names,
    reference_parameters,
)
from models.data import Batch, handed_tokens, text_batches
from models.data_parallel import RankLost, Ranks, RanksDiffer, rendezvous
from models.efficiency.child import measure
from models.fla_standin.compiling import skip_compilation
from models.micro_batches import OutOfMemory
from models.policy.tables import MODULES
from models.sandbox.child import RANK_LOST, Channel, Task, TaskError
from models.sandbox.scoring import score
from models.sandbox.starting import keep_to_share, load_entry, set_seed, source_of
from models.sandbox.wire import Array, Json, Message, TooLargeError
from models.scale import TEXT, CanarySpec, Stage, size_of, stage_of
from models.slots import SLOTS, published_source, slot_named
from models.training_state import Saving, TrainingState, arrays_of

# What torch loads on first use: _dynamo with an optimiser, the others with a step, a printed tensor, and an import.
_LAZY_MODULES = (
    "torch._dynamo",
    "torch.profiler._cupti_monitor",
    "torch._subclasses.schema_check_mode",
    "torch.nn.attention.flex_attention",
    "torch.nn.attention.bias",
    "einops.layers.torch",
    "numpy.polynomial",
)


def warm_up(device: str = "cpu") -> None:
    """Import what children need, single-threaded; no backward pass and no parallel operator, which start threads.

    A confined child reads nothing from disk, so all that the policy lets a candidate import is imported here. On the
    CPU children find the stand-in as `fla` and torch.compile hands back what it is given. On CUDA, where fla is
    installed, a child imports the real one itself: that asks for the device, which a process that forks must not.
    """
    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    for name in (*_LAZY_MODULES, *sorted(MODULES)):
        with suppress(ImportError):  # private rooms that other releases of torch may not have, triton
            importlib.import_module(name)
    for slot in SLOTS.values():
        published_source(slot.name, slot.reference)
    for name in host_mixer_names():
        with suppress(ImportError):  # a host that needs it says so itself
            host_mixer(name)
    fla_standin.install(device)
    if device == "cpu":
        skip_compilation()


def examine(channel: Channel) -> None:
    """start {source, slot, size, length, thorough} -> examined {properties, fingerprint, structure, layout, ...}."""
    start = channel.receive()
    size, slot = size_of(start.table("size")), start.text("slot")
    target_parameters = reference_parameters(size, slot)
    set_seed(0)
    found = properties.examine(
        source_of(start),
        slot,
        size,
        target_parameters,
        length=start.integer("length"),
        thorough=start.body.get("thorough") is True,
    )
    channel.send(
        "examined",
        {
            "properties": [
                {
                    "name": item.name,
                    "passed": item.passed,
                    "figure": _finite_or_none(item.figure),
                    "limit": _finite_or_none(item.limit),
                    "detail": item.detail,
                }
                for item in found.properties
            ],
            "fingerprint": [*map(float, found.fingerprint)] if all(map(math.isfinite, found.fingerprint)) else [],
            "structure": [*found.structure],
            "layout": found.layout,
            "num_parameters": found.num_parameters,
            "ffn_width": found.ffn_width,
            "flops_per_token": found.flops_per_token,
            "state_bytes": found.state_bytes,
        },
    )


def train(channel: Channel) -> None:
    """Train the tasks that the parent names, in their order, every time from fresh weights.

    start {source, slot, stage, seed, device, card_share, tasks, text} -> prepared {target_parameters}, before candidate
    code runs; then for each task begun {task}, point {task, step, loss, ...} ..., weights {task, ffn_width} + arrays.
    The tokens of the training split are in the handed files, as `text` tells (models.data.layout_of).

    With save_every_s in the start, checkpoint {task, step, state} + arrays come between the points, that far apart at
    least. With resumes in it, resume {state} + arrays follows, of such a checkpoint: the first task goes on there.

    Of several processes each runs all of this on its rows of every batch, and the first one alone is heard.
    """
    start = channel.receive()
    stage, seed, slot = stage_of(start.table("stage")), start.integer("seed"), slot_named(start.text("slot"))
    resume = _state_of(channel.receive()) if start.body.get("resumes") is True else None
    target_parameters = reference_parameters(stage.size, slot.name)
    channel.send("prepared", {"target_parameters": target_parameters})
    keep_to_share(start)
    mixer_class = load_entry(source_of(start), slot.entry)
    try:
        ffn_width = fit_ffn_width(mixer_class, stage.size, target_parameters, slot.name)
    except CannotFit as error:
        raise TaskError("error", str(error)) from error
    every_s = start.optional_real("save_every_s")
    saver = _Saver(channel, every_s) if every_s is not None and channel.rank == 0 else None
    for name in start.texts("tasks"):
        set_seed(seed)
        model = build(mixer_class, stage.size, ffn_width, seed, slot.name).to(start.text("device"))
        channel.send("begun", {"task": name})
        done = resume.step if resume is not None else 0
        batches = _batches(channel, start.table("text"), stage, name, seed, done)
        _train_one(channel, model, stage, name, batches, saver, resume)
        channel.send("weights", {"task": name, "ffn_width": ffn_width}, _arrays_of(model))
        resume = None


def hidden_states(channel: Channel) -> None:
    """start {source, slot, size, ffn_width, seed, device, card_share}; then, as often as the parent likes,

    model + weights -> loaded; tokens + tokens_NT -> hidden + hidden_NTD (float32, after the final norm).
    """
    start = channel.receive()
    size, slot, device = size_of(start.table("size")), slot_named(start.text("slot")), start.text("device")
    seed = start.integer("seed")
    keep_to_share(start)
    set_seed(seed)
    mixer_class = load_entry(source_of(start), slot.entry)
    model: LanguageModel | None = None
    while True:
        request = channel.receive()
        if request.kind == "model":
            model = build(mixer_class, size, start.integer("ffn_width"), seed, slot.name)
            model.load_state_dict(
                {name: torch.from_numpy(array) for name, array in request.arrays.items()}, strict=True
            )
            model = model.to(device).eval()
            channel.send("loaded")
        elif model is not None:
            tokens_NT = torch.from_numpy(request.array("tokens_NT").astype(np.int64)).to(device)
            with torch.no_grad():
                hidden_NTD = model.hidden(tokens_NT)
            channel.send("hidden", arrays={"hidden_NTD": hidden_NTD.float().cpu().numpy()})


__all__ = ["TASKS", "rendezvous", "warm_up"]

TASKS: Mapping[str, Task] = {
    "examine": examine,
    "train": train,
    "hidden_states": hidden_states,
    "score": score,
    "measure": measure,
}


class _Saver:
    """Sends a training's state to the parent when it is due, counted over all tasks of this child."""

    def __init__(self, channel: Channel, every_s: float) -> None:
        self._channel = channel
        self._task = ""
        self._saving = Saving(every_s, self._send)

    def of(self, task: str) -> Saving:
        self._task = task
        return self._saving

    def _send(self, state: TrainingState) -> None:
        told: dict[str, Json] = {"task": self._task, "step": state.step, "state": json.dumps(state.as_json())}
        with suppress(TooLargeError):  # more tensors than one message can name: trained on without, nothing was sent
            self._channel.send("checkpoint", told, state.arrays)


def _state_of(message: Message) -> TrainingState:
    return TrainingState.from_json(json.loads(message.text("state")), message.arrays)


def _batches(
    channel: Channel, text: Mapping[str, Json], stage: Stage, task: str, seed: int, start: int
) -> Iterator[Batch]:
    """From number `start` on."""
    plan = stage.plan(task)
    if isinstance(plan, probes.ProbeSpec):
        return probes.batches(plan, seed, start)
    if isinstance(plan, CanarySpec):
        return canary.batches(plan, seed)
    return text_batches(handed_tokens(channel.handed_fds, text), stage.batch_size, stage.length, seed, start)


def _train_one(
    channel: Channel,
    model: LanguageModel,
    stage: Stage,
    task: str,
    batches: Iterator[Batch],
    saver: _Saver | None,
    resume: TrainingState | None,
) -> None:
    plan = stage.plan(task)
    ranks = Ranks(rank=channel.rank, num=channel.num_ranks)

    def report(point: training.TrainingPoint) -> None:
        channel.send(
            "point",
            {
                "task": task,
                "step": point.step,
                "loss": point.loss,
                "grad_norm": point.grad_norm,
                "learning_rate": point.learning_rate,
                "peak_bytes": ranks.largest(_peak_bytes()),
            },
        )

    try:
        training.train(
            model,
            batches,
            steps=plan.steps,
            learning_rate=plan.learning_rate,
            warmup_steps=plan.warmup_steps,
            report_every=plan.report_every,
            report=report,
            recipe=stage.recipe if task == TEXT else replace(stage.recipe, compile=False),
            save=saver.of(task) if saver is not None else None,
            resume=resume,
            ranks=ranks,
        )
    except RankLost as error:
        raise TaskError(RANK_LOST, f"{task}: {error}") from error
    except RanksDiffer as error:
        raise TaskError("error", f"{task}: {error}") from error
    except training.NonFinite as error:
        raise TaskError("nonfinite", f"{task}: {error}") from error
    except OutOfMemory as error:
        raise TaskError("memory", f"{task}: {error}") from error
    except training.Diverged as error:
        raise TaskError("diverged", f"{task}: {error}") from error


def _arrays_of(model: nn.Module) -> dict[str, Array]:
    try:
        return arrays_of(model)
    except TypeError as error:
        raise TaskError("error", str(error)) from error


def _peak_bytes() -> int:
    """The largest memory so far: what was allocated on the GPU, else what was resident."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _finite_or_none(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
