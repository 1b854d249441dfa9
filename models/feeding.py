"""Batches on their way to the device: on CUDA pinned and copied ahead by a thread, so that no step waits for them.

Shapes: B batch, T time.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from models.batch import IGNORED, Batch
from models.data_parallel import ALONE, Ranks

_AHEAD = 3


@dataclass(frozen=True, slots=True)
class Fed:
    """A batch on the device."""

    inputs_BT: Tensor
    targets_BT: Tensor
    num_counted: int  # targets that count, over all ranks
    num_here: int  # of them in these rows


def feed(batches: Iterator[Batch], num: int, device: torch.device, ranks: Ranks = ALONE) -> Iterator[Fed]:
    """This rank's rows of `num` batches, in their order. What generating them raises is raised here."""
    if device.type != "cuda":
        for _ in range(num):
            yield _fed(next(batches), device, ranks, pinned=False)
        return
    yield from _ahead(batches, num, device, ranks)


def _ahead(batches: Iterator[Batch], num: int, device: torch.device, ranks: Ranks) -> Iterator[Fed]:
    ready: queue.Queue[Fed | BaseException] = queue.Queue(_AHEAD)
    given_up = threading.Event()

    def hand_on(item: Fed | BaseException) -> None:
        while not given_up.is_set():
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return

    def run() -> None:
        try:
            if device.index is not None:  # a thread begins on the first device, where a rank has nothing to pin for
                torch.cuda.set_device(device)
            for _ in range(num):
                if given_up.is_set():
                    return
                hand_on(_fed(next(batches), device, ranks, pinned=True))
        except BaseException as error:  # noqa: BLE001 - a thread's boundary: raised again where the batch is due
            hand_on(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        for _ in range(num):
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        given_up.set()
        thread.join()


def _fed(batch: Batch, device: torch.device, ranks: Ranks, *, pinned: bool) -> Fed:
    rows = ranks.rows(len(batch.inputs))
    inputs_BT, targets_BT = torch.from_numpy(batch.inputs[rows]), torch.from_numpy(batch.targets[rows])
    counted_BT = batch.targets != IGNORED
    if pinned:
        inputs_BT, targets_BT = inputs_BT.pin_memory(), targets_BT.pin_memory()
    return Fed(
        inputs_BT.to(device, non_blocking=True),
        targets_BT.to(device, non_blocking=True),
        int(counted_BT.sum()),
        int(counted_BT[rows].sum()),
    )
