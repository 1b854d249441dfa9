"""One way to train the 20M model, measured: what benchmarks/gpu.py runs as a process of its own.

    python benchmarks/gpu_ways.py --way ours --out FILE.json [--quick]

    ours                  our trainer on its recipe
    fla in a plain loop   the same sizes with fla's own model and loss
    the original way      a chunk loop in plain PyTorch under torch.compile
    ours, not compiled    our trainer without torch.compile

Needs torch, numpy, pyyaml; fla where it is compared with. Random tokens: nothing here learns.

Shapes: B batch, T time, H heads, K head dim, C chunk length, D width.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from models.backbone import LanguageModel, build, fit_ffn_width, reference_parameters
from models.batch import Batch
from models.loading import load_mixer
from models.scale import ModelSize, Recipe, Stage, load_scale
from models.slots import published_source
from models.training import train

SLOT, MIXER = "token_mixer", "delta_net"  # what the original trained first
PEAK_FLOPS = {"H200": 989e12, "H100": 989e12, "A100": 312e12}  # bfloat16, dense, by the vendor's word
PROTOCOL_TOKENS = 2000 * 256 * 2048
CHUNK = 32


class OriginalMixer(nn.Module):
    """DeltaNet the original's way: the parallel form as a Python loop over rows, then over chunks, compiled."""

    def __init__(self, hidden_size: int, num_heads: int, layer_idx: int = 0, **kwargs: object) -> None:
        super().__init__()
        self.inner = load_mixer(published_source(SLOT, MIXER))(hidden_size, num_heads, layer_idx=layer_idx)

    def forward(self, x: Tensor) -> Tensor:
        mixer = self.inner
        q, k, v = mixer.q_conv(mixer.q_proj(x)), mixer.k_conv(mixer.k_proj(x)), mixer.v_conv(mixer.v_proj(x))
        heads = mixer._heads(q, k, v)
        return mixer._out(chunk_loop(*heads, torch.sigmoid(mixer.b_proj(x))))


@torch.compile
def chunk_loop(q_BTHK: Tensor, k_BTHK: Tensor, v_BTHK: Tensor, beta_BTH: Tensor) -> Tensor:
    """The delta rule, chunk after chunk, each one's inverse row after row; T a multiple of C."""
    (batch, time_steps, heads, width), dtype = q_BTHK.shape, v_BTHK.dtype
    shape = (batch, heads, time_steps // CHUNK, CHUNK, -1)
    q, k, v = (x.float().transpose(1, 2).reshape(shape) for x in (q_BTHK * width**-0.5, k_BTHK, v_BTHK))
    beta = beta_BTH.float().transpose(1, 2).reshape(shape)
    written_k, written_v = k * beta, v * beta
    future = torch.ones(CHUNK, CHUNK, dtype=torch.bool, device=q.device).triu(0)
    inverse = -(written_k @ k.mT).masked_fill(future, 0)
    for row in range(1, CHUNK):
        update = (inverse[..., row, :, None].clone() * inverse[..., :, :row].clone()).sum(-2)
        inverse[..., row, :row] = inverse[..., row, :row].clone() + update
    inverse = inverse + torch.eye(CHUNK, device=q.device)
    values, keys = inverse @ written_v, inverse @ written_k
    state = q.new_zeros(batch, heads, width, width)
    out = torch.zeros_like(v)
    above = future.triu(1)
    for chunk in range(time_steps // CHUNK):
        scores = (q[:, :, chunk] @ k[:, :, chunk].mT).masked_fill(above, 0)
        fresh = values[:, :, chunk] - keys[:, :, chunk] @ state
        out[:, :, chunk] = q[:, :, chunk] @ state + scores @ fresh
        state = state + k[:, :, chunk].mT @ fresh
    return out.reshape(batch, heads, time_steps, width).transpose(1, 2).to(dtype)


def measure(way: str, quick: bool) -> dict[str, Any]:
    """Tokens per second, GPU-hours for 1.05 billion tokens, peak memory and model FLOPs utilisation."""
    stage = _tiny_stage() if quick else load_scale("explore_20m").stages[0]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    figures = WAYS[way](stage, device, quick)
    hours = round(PROTOCOL_TOKENS / figures["tokens_s"] / 3600, 4)
    return {**figures, "gpu_hours_for_1B": hours, "flops_per_token": _flops_per_token(stage.size)}


def _ours(stage: Stage, device: torch.device, steps: int) -> dict[str, Any]:
    model = _host(stage.size, load_mixer(published_source(SLOT, MIXER))).to(device)
    seconds: list[float] = []
    tokens: list[int] = []

    def report(point: Any) -> None:
        seconds.append(point.elapsed_s)
        tokens.append(point.tokens)

    _reset_peak(device)
    every = steps // 3
    train(
        model,
        _random_batches(stage),
        steps=steps,
        learning_rate=stage.learning_rate,
        warmup_steps=1,
        report_every=every,
        report=report,
        recipe=stage.recipe,
    )
    return _figures((tokens[-1] - tokens[0]) / (seconds[-1] - seconds[0]), stage.size, device)


def _fla(stage: Stage, device: torch.device, steps: int) -> dict[str, Any]:
    """fla's own model and loss, autocast, fused AdamW, the largest power of two of sequences that fits."""
    from fla.models import DeltaNetConfig, DeltaNetForCausalLM  # type: ignore[import-not-found, unused-ignore]

    size = stage.size
    config = DeltaNetConfig(
        hidden_size=size.hidden_size,
        num_hidden_layers=size.num_layers,
        num_heads=size.num_heads,
        vocab_size=size.vocab_size,
        intermediate_size=size.ffn_width,
        tie_word_embeddings=False,
        use_cache=False,
    )
    model = DeltaNetForCausalLM(config).to(device).train()

    def loss_of(inputs: Tensor, targets: Tensor) -> Tensor:
        return model(input_ids=inputs, labels=inputs).loss

    return _plain_loop(model, loss_of, stage, device, steps, stage.batch_size)


def _original(stage: Stage, device: torch.device, steps: int) -> dict[str, Any]:
    model = _host(stage.size, OriginalMixer).to(device).train()

    def loss_of(inputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(model(inputs).flatten(0, 1).float(), targets.flatten())

    return _plain_loop(model, loss_of, stage, device, steps, min(stage.batch_size, 8))


def _plain_loop(
    model: nn.Module,
    loss_of: Callable[[Tensor, Tensor], Tensor],
    stage: Stage,
    device: torch.device,
    steps: int,
    num_sequences: int,
) -> dict[str, Any]:
    """The usual loop: as many sequences at once as fit, halved until they do."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=stage.learning_rate, fused=True)
    batches = _random_batches(replace(stage, batch_size=num_sequences))
    _reset_peak(device)
    while True:
        try:
            begun, counted = 0.0, 0
            for step in range(steps + 2):
                if step == 2:
                    _wait(device)
                    begun, counted = time.perf_counter(), 0
                batch = next(batches)
                inputs, targets = (torch.from_numpy(x).to(device) for x in batch)
                with torch.autocast(device.type, torch.bfloat16):
                    loss = loss_of(inputs, targets)
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimiser.step()
                optimiser.zero_grad(set_to_none=True)
                counted += inputs.numel()
            _wait(device)
            found = _figures(counted / (time.perf_counter() - begun), stage.size, device)
            return {**found, "sequences_at_once": num_sequences}
        except torch.OutOfMemoryError:
            optimiser.zero_grad(set_to_none=True)
            torch.cuda.empty_cache()
            num_sequences //= 2
            if num_sequences == 0:
                raise
            batches = _random_batches(replace(stage, batch_size=num_sequences))


def _host(size: ModelSize, mixer_class: type[nn.Module]) -> LanguageModel:
    width = fit_ffn_width(mixer_class, size, reference_parameters(size, SLOT))
    return build(mixer_class, size, width, seed=0)


def _random_batches(stage: Stage) -> Iterator[Batch]:
    rng = np.random.default_rng(0)
    while True:
        tokens = rng.integers(0, min(stage.size.vocab_size, 50_000), (stage.batch_size, stage.length + 1))
        yield Batch(np.ascontiguousarray(tokens[:, :-1]), np.ascontiguousarray(tokens[:, 1:]))


def _flops_per_token(size: ModelSize) -> float:
    """Forward and backward: six for each parameter of a matrix product, head included, embedding not."""
    return 6.0 * (reference_parameters(size, SLOT) + size.hidden_size * size.vocab_size)


def _figures(tokens_s: float, size: ModelSize, device: torch.device) -> dict[str, Any]:
    found: dict[str, Any] = {"tokens_s": round(tokens_s)}
    if device.type == "cuda":
        name = torch.cuda.get_device_name()
        peak = next((flops for key, flops in PEAK_FLOPS.items() if key in name), None)
        found["peak_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
        found["mfu"] = None if peak is None else round(tokens_s * _flops_per_token(size) / peak, 4)
    return found


def _with(stage: Stage, **changes: Any) -> Stage:
    return replace(stage, recipe=replace(stage.recipe, **changes))


def _tiny_stage() -> Stage:
    stage = load_scale("tiny").stages[0]
    recipe = Recipe(precision="bfloat16")
    return replace(stage, size=replace(stage.size, vocab_size=512), length=64, recipe=recipe)


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


# Most telling first.
WAYS: dict[str, Callable[[Stage, torch.device, bool], dict[str, Any]]] = {
    "ours": lambda stage, device, quick: _ours(stage, device, 6 if quick else 24),
    "fla in a plain loop": lambda stage, device, quick: _fla(stage, device, 2 if quick else 24),
    "the original way": lambda stage, device, quick: _original(stage, device, 2 if quick else 4),
    "ours, not compiled": lambda stage, device, quick: _ours(_with(stage, compile=False), device, 6 if quick else 24),
}


def main() -> None:
    """Measure one way and write its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--way", choices=tuple(WAYS), required=True)
    parser.add_argument("--quick", action="store_true", help="tiny sizes")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.json")
    options = parser.parse_args()
    figures = measure(options.way, options.quick)
    print("  ".join(f"{key} {value}" for key, value in figures.items()))
    options.out.write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
