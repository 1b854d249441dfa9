"""The task that does what is timed: training steps, prefills and decoding steps of a candidate in its host.

It executes candidate code and holds no clock: the parent times from the request to the answer. What it says of memory,
state and FLOPs is the candidate's process's word.

Shapes: B batch, T time.
"""

from __future__ import annotations

import copy
import itertools
import resource
import sys
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch

from models import training
from models.backbone import (
    CannotFit,
    LanguageModel,
    build,
    fit_ffn_width,
    non_embedding_parameters,
    reference_parameters,
)
from models.batch import Batch
from models.cost import flops_per_token
from models.efficiency.decoding import Decoder
from models.micro_batches import OutOfMemory
from models.sandbox.child import Channel, TaskError
from models.sandbox.starting import keep_to_share, load_entry, set_seed, source_of
from models.sandbox.wire import Json, Message
from models.scale import Stage, stage_of
from models.slots import slot_named

ALLOCATED, RESIDENT = "allocated", "resident"
_ENDLESS = 1 << 20  # blocks
_SETTLING = 8  # tokens that a process computes before its memory is taken as the ground that growth is counted from


def measure(channel: Channel) -> None:
    """start {source, slot, stage, length, batch_size, device, card_share} -> ready {num_parameters, memory, gpu}; then

    prefill | train | decode {times} -> done {peak_bytes}, as often as the parent likes: one sequence of `length` read,
    a step on `batch_size` of them trained, a token decoded behind `length` of them, each so many times;
    prime -> primed {form, state_bytes} before decoding, and rewind -> done between;
    fresh -> done: memory is counted from here; count -> counted {flops_per_token}, last of all.
    """
    start = channel.receive()
    stage, slot = stage_of(start.table("stage")), slot_named(start.text("slot"))
    keep_to_share(start)
    set_seed(0)
    target = reference_parameters(stage.size, slot.name)
    mixer_class = load_entry(source_of(start), slot.entry)
    try:
        width = fit_ffn_width(mixer_class, stage.size, target, slot.name)
    except CannotFit as error:
        raise TaskError("error", str(error)) from error
    model = build(mixer_class, stage.size, width, 0, slot.name).to(start.text("device"))
    work = _Work(channel, model, stage, start.integer("length", low=2), start.integer("batch_size", low=1))
    told: dict[str, Json] = {
        "num_parameters": non_embedding_parameters(model.state_dict()),
        "memory": work.memory,
        "gpu": work.gpu,
    }
    channel.send("ready", told)
    work.serve()


class _Left(Exception):
    """The parent asks for something else than more of the same training."""

    def __init__(self, request: Message) -> None:
        super().__init__(request.kind)
        self.request = request


class _Work:
    """One model, one length."""

    def __init__(self, channel: Channel, model: LanguageModel, stage: Stage, length: int, batch_size: int) -> None:
        self._channel, self._model, self._stage = channel, model.eval(), stage
        self._device = next(model.parameters()).device
        rng = np.random.default_rng(0)
        spans = rng.integers(0, stage.size.vocab_size, size=(batch_size, length + 1))
        self._batch = Batch(spans[:, :-1].copy(), spans[:, 1:].copy())
        self._tokens_1T = torch.from_numpy(self._batch.inputs[:1]).to(self._device)
        self._decoder: Decoder | None = None
        self._prefill(self._tokens_1T[:, :_SETTLING])
        self._ground_bytes = _resident_bytes()

    @property
    def memory(self) -> str:
        """What peaks mean: bytes allocated on the GPU, or by how much the resident memory grew."""
        return ALLOCATED if self._device.type == "cuda" else RESIDENT

    @property
    def gpu(self) -> str:
        """Its name; "" on a CPU."""
        return torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else ""

    def serve(self) -> None:
        request = self._channel.receive()
        while True:
            if request.kind == "train":
                request = self._train(request.integer("times", low=1))
                continue
            if request.kind == "prime":
                with self._autocast():
                    self._decoder = Decoder(self._model, self._tokens_1T)
                    self._decoder.prime()
                state: dict[str, Json] = {"form": self._decoder.form, "state_bytes": self._decoder.state_bytes}
                self._channel.send("primed", state)
            elif request.kind == "count":
                self._channel.send("counted", {"flops_per_token": self._flops()})
            else:
                self._do(request)
                self._done()
            request = self._channel.receive()

    def _do(self, request: Message) -> None:
        if request.kind == "fresh" and self._device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self._device)
        elif request.kind == "prefill":
            for _ in range(request.integer("times", low=1)):
                self._prefill(self._tokens_1T)
        elif request.kind == "rewind" and self._decoder is not None:
            self._decoder.rewind()
        elif request.kind == "decode" and self._decoder is not None:
            with self._autocast():
                for _ in range(request.integer("times", low=1)):
                    self._decoder.step(self._tokens_1T[:, 0])

    def _done(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
            peak_bytes = int(torch.cuda.max_memory_allocated(self._device))
        else:
            peak_bytes = max(0, _resident_bytes() - self._ground_bytes)
        self._channel.send("done", {"peak_bytes": peak_bytes})

    @torch.no_grad()
    def _prefill(self, tokens_1T: torch.Tensor) -> None:
        with self._autocast():
            self._model.head(self._model.hidden(tokens_1T)[:, -1])

    def _train(self, times: int) -> Message:
        """The stage's own training, `times` steps for each request, at a rate of 0; the request that ends it."""

        def report(point: training.TrainingPoint) -> None:
            self._done()
            request = self._channel.receive()
            if request.kind != "train" or request.integer("times", low=1) != times:
                raise _Left(request)

        try:
            training.train(
                self._model,
                itertools.repeat(self._batch),
                steps=times * _ENDLESS,
                learning_rate=0.0,
                warmup_steps=0,
                report_every=times,
                report=report,
                recipe=self._stage.recipe,
            )
        except _Left as left:
            self._model.zero_grad(set_to_none=True)
            self._model.eval()
            return left.request
        except training.NonFinite as error:
            raise TaskError("nonfinite", str(error)) from error
        except OutOfMemory as error:
            raise TaskError("memory", str(error)) from error
        raise TaskError("error", f"asked for more than {_ENDLESS} blocks of training")

    def _flops(self) -> float | None:
        """Forward, whole host, by shapes alone; where that does not run, by computing on the CPU at most."""
        length = self._tokens_1T.shape[1]
        try:
            return flops_per_token(copy.deepcopy(self._model).to("meta"), length)
        except Exception:  # noqa: BLE001  candidate code asks meta tensors for values in ways of its own
            return flops_per_token(self._model, length) if self._device.type == "cpu" else None

    def _autocast(self) -> AbstractContextManager[object]:
        if self._stage.recipe.precision == "float32":
            return nullcontext()
        return torch.autocast(self._device.type, torch.bfloat16)


def _resident_bytes() -> int:
    """The most that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
