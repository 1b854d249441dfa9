"""What tasks read from their start message, and how they begin: seeds, the share of a card, the candidate's class."""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import nn

from models.fla_style import LoadError
from models.loading import load_mixer
from models.sandbox.child import TaskError, kind_of
from models.sandbox.wire import Message

_CONTEXT_BYTES = 768 << 20  # of a GPU: driver, kernels and cuBLAS's workspace, for each process


def source_of(start: Message) -> str:
    """The candidate's source text."""
    return start.text("source", limit=1 << 20)


def load_entry(source: str, entry: str) -> type[nn.Module]:
    """The candidate's class. Raises TaskError with its own lines."""
    try:
        return load_mixer(source, entry)
    except LoadError as error:
        raise TaskError(kind_of(error.__cause__), str(error)) from error


def set_seed(seed: int) -> None:
    """Of all generators that a candidate may draw from."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % (1 << 32))


def keep_to_share(start: Message) -> None:
    """On a GPU, before all else there: torch allocates no more than the trial's share of its memory."""
    share = start.real("card_share")
    if start.text("device") != "cpu" and share < 1:
        device = torch.device(start.text("device"))
        total_bytes = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(allocated_share(share, total_bytes), device)


def allocated_share(share: float, total_bytes: int) -> float:
    """What is left to torch's allocator of a share of a card: the driver's context takes memory beside it.

    Raises:
        TaskError: the context alone takes it all.
    """
    left = share - _CONTEXT_BYTES / total_bytes
    if left <= 0:
        raise TaskError("memory", f"a share of {share:g} of a card of {total_bytes >> 20} MiB is less than its context")
    return left
