"""What an honest candidate computes, with and without threads, inside the jail."""

import os
import threading

import einops
import numpy as np
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from models.sandbox import tasks
from models.sandbox.child import Channel
from tests.models.sandbox import jail_tasks


def warm_up(device: str) -> None:
    tasks.warm_up(device)
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "as nobody":
        jail_tasks.as_ordinary_user()


def compute(channel: Channel) -> None:
    """Train a little, and run what mixers are made of."""
    channel.receive()
    torch.manual_seed(0)
    torch.set_num_threads(2)
    model = nn.Sequential(nn.Linear(64, 64), nn.SiLU(), nn.Conv1d(8, 8, 3, padding=1), nn.LayerNorm(64))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    x = torch.randn(4, 8, 64)
    for _ in range(5):
        loss = (checkpoint(model, x, use_reentrant=False) - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    square = torch.randn(32, 32, dtype=torch.float64) + 32 * torch.eye(32, dtype=torch.float64)
    torch.linalg.solve(square, square)
    torch.linalg.solve_triangular(square.tril(), square, upper=False)
    torch.linalg.svd(square)
    torch.fft.irfft(torch.fft.rfft(torch.randn(4, 256)))
    torch.vmap(torch.dot)(torch.randn(4, 8), torch.randn(4, 8))
    nn.functional.scaled_dot_product_attention(*torch.randn(3, 2, 4, 16, 8), is_causal=True)
    (torch.randn(256, 256).bfloat16() @ torch.randn(256, 256).bfloat16()).float()
    einops.rearrange(torch.randn(2, 6, 4), "b (t c) d -> b t c d", c=2)
    np.linalg.eigh(np.eye(16))
    repr(torch.randn(3))
    seen: list[int] = []

    def backward() -> None:
        weight = torch.randn(64, 64, requires_grad=True)
        (weight @ weight).sum().backward()
        seen.append(1)

    threads = [threading.Thread(target=backward) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    channel.send("computed", {"losses": [*losses], "threads": len(seen)})


TASKS = {"compute": compute}
