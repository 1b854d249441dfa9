"""Training on several processes at once: each takes its rows of every batch, and gradients are summed over all.

Not torch's DistributedDataParallel, for docs/decisions/0010: a rank may begin its backward pass again when memory ends
in it, and may find nothing that counts in its rows; DDP has sent half of its gradients by then, or waits for ever. Here
ranks speak to each other only when the backward pass is done.

Every rank calls the same methods in the same order. Which rank it is decides which rows it takes, and nothing else:
losses, gradients, decisions and weights are the same on all of them.

Shapes: B batch.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from models.sandbox.gang import Rank
from models.sandbox.layer import Device

_TIMEOUT_S = 600.0  # of one exchange; the parent's deadline, and its watch over silence, come long before as a rule
_BUCKET_BYTES = 32 << 20  # gradients that are sent at once: what they are copied into is no larger
_STORE = "rendezvous"  # a file in the scratch folder
_ADVICE = re.compile(r"^\[[^\]]*\] | This is typically.*")  # of gloo's: lines of its own source, logs to look into
_ENVIRONMENT = {
    "GLOO_SOCKET_IFNAME": "lo",
    "NCCL_SOCKET_IFNAME": "lo",
    "NCCL_RUNTIME_CONNECT": "0",  # all connections at once: later there is no socket to be had
    "NCCL_CUMEM_ENABLE": "0",  # which would pass descriptors over sockets
    "TORCH_NCCL_ENABLE_MONITORING": "0",  # whose thread asks the store
}


class RankLost(Exception):
    """Another rank has ended, or has not come to an exchange in time."""


class RanksDiffer(Exception):
    """The ranks have built different models from one source and one seed."""


def rendezvous(rank: Rank, device: Device) -> None:
    """Have the ranks meet on the loopback; from here on torch.distributed needs no new socket, file or thread.

    Tensors of the CPU go over gloo, those of a GPU over nccl, one device per rank.

    Raises:
        ValueError: there are fewer GPUs than ranks.
    """
    os.environ.update(_ENVIRONMENT)
    cuda = device == "cuda" and torch.cuda.is_available()
    if cuda:
        if torch.cuda.device_count() < rank.num:
            raise ValueError(
                f"{rank.num} processes on {torch.cuda.device_count()} GPUs; give each one of its own, or run fewer"
            )
        torch.cuda.set_device(rank.number)
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if cuda else "gloo",
        store=dist.FileStore(_STORE, rank.num),  # type: ignore[attr-defined]
        rank=rank.number,
        world_size=rank.num,
        timeout=timedelta(seconds=_TIMEOUT_S),
    )
    dist.all_reduce(torch.zeros(1))
    if cuda:
        dist.all_reduce(torch.zeros(1, device="cuda"))
        torch.cuda.synchronize()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """Which of how many processes this is; alone, every method does nothing."""

    rank: int = 0
    num: int = 1

    def rows(self, num_sequences: int) -> slice:
        """The sequences of a batch that are this rank's. Raises ValueError where they cannot be shared out evenly."""
        if num_sequences % self.num:
            raise ValueError(f"a batch of {num_sequences} sequences is not a multiple of {self.num} processes")
        share = num_sequences // self.num
        return slice(self.rank * share, (self.rank + 1) * share)

    def begin(self, model: nn.Module) -> None:
        """Give every rank the weights of the first one.

        Raises:
            RanksDiffer: names, shapes or types are not the same everywhere.
            RankLost: see above.
        """
        if self.num == 1:
            return
        tensors = dict(model.named_parameters()) | dict(model.named_buffers())
        described = str([(name, tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()])
        digest = int.from_bytes(hashlib.blake2b(described.encode("utf-8", "replace"), digest_size=7).digest(), "big")
        extremes = torch.tensor([digest, -digest])
        with _together():
            dist.all_reduce(extremes, dist.ReduceOp.MAX)
        if extremes[0] != -extremes[1]:
            raise RanksDiffer(
                "the processes built models of different names, shapes or types; build the same one from the same seed"
            )
        with torch.no_grad(), _together():
            for tensor in tensors.values():
                flat = tensor.detach().reshape(-1).clone()
                dist.broadcast(flat.view(torch.uint8), 0)
                tensor.copy_(flat.view(tensor.shape))

    def sum_up(self, loss: Tensor, parameters: Sequence[nn.Parameter]) -> Tensor:
        """Add up gradients and loss over all ranks; where only some have a gradient, the others' counts as zero.

        Raises RankLost.
        """
        if self.num == 1:
            return loss
        # On the CPU: a GPU need not be waited for, and gloo sees at once when a rank has ended, which nccl does not.
        there = torch.tensor([parameter.grad is not None for parameter in parameters], dtype=torch.uint8)
        total = loss.detach().reshape(1).clone()
        gradients = [total]
        with torch.no_grad(), _together():
            dist.all_reduce(there, dist.ReduceOp.MAX)
            for parameter, any_has in zip(parameters, there.tolist(), strict=True):
                if any_has:
                    if parameter.grad is None:
                        parameter.grad = torch.zeros_like(parameter)
                    gradients.append(parameter.grad)
            for bucket in _buckets(gradients):
                flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
                dist.all_reduce(flat)
                parts = torch.split(flat, [gradient.numel() for gradient in bucket])
                for gradient, summed in zip(bucket, parts, strict=True):
                    gradient.copy_(summed.view(gradient.shape))
        return total[0]

    def largest(self, value: int) -> int:
        """The largest over all ranks. Raises RankLost."""
        if self.num == 1:
            return value
        largest = torch.tensor([value])
        with _together():
            dist.all_reduce(largest, dist.ReduceOp.MAX)
        return int(largest)


ALONE = Ranks()


def _buckets(gradients: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Neighbours of one type, as many as go into a bucket; the same on every rank."""
    bucket: list[Tensor] = []
    num_bytes = 0
    for gradient in gradients:
        if bucket and (num_bytes + gradient.nbytes > _BUCKET_BYTES or gradient.dtype != bucket[0].dtype):
            yield bucket
            bucket, num_bytes = [], 0
        bucket.append(gradient)
        num_bytes += gradient.nbytes
    if bucket:
        yield bucket


@contextmanager
def _together() -> Iterator[None]:
    """Whatever torch.distributed raises means that a rank is missing; memory that ends is one's own."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        reason = _ADVICE.sub("", str(error).partition("\n")[0]) or type(error).__name__
        raise RankLost(f"an exchange between the processes failed: {reason}") from error
