"""What a GPU does with a 20M trial, in parts that resume: each under nine minutes, most telling first, saved at once.

    python benchmarks/gpu.py                    # every part that has no result yet
    python benchmarks/gpu.py --part trainer     # one part, again
    python benchmarks/gpu.py --quick            # tiny sizes, on a CPU as well; prints only

    trainer     tokens/s, peak memory and model FLOPs utilisation of a 20M trial: our trainer, the same model with fla's
                layers in a plain loop, and the original way (a chunk loop in plain PyTorch under torch.compile);
                GPU-hours for 1.05 billion tokens, extrapolated
    kernels     fused path fusion and two-scale FIR against torch.compile (benchmarks/gpu_kernels.py)
    lengths     training and decoding throughput and state of everything published, T = 1k to 32k
    tests       the tests marked gpu

Needs torch, triton, numpy, pyyaml; fla where it is to be compared with. Random tokens: nothing here learns.

Shapes: B batch, T time, H heads, K head dim, C chunk length, D width.
"""

from __future__ import annotations

import argparse
import json
import subprocess
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

from benchmarks.machine import RESULTS, write_result
from models.backbone import LanguageModel, build, fit_ffn_width, reference_parameters
from models.batch import Batch
from models.loading import load_mixer
from models.scale import ModelSize, Recipe, Stage, load_scale
from models.slots import published_source
from models.training import train

ROOT = Path(__file__).resolve().parents[1]
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


def trainer(quick: bool) -> dict[str, Any]:
    """The three ways to train the 20M model, in one run."""
    stage = _tiny_stage() if quick else load_scale("explore_20m").stages[0]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    ways: dict[str, Callable[[], dict[str, Any]]] = {
        "ours": lambda: _ours(stage, device, 6 if quick else 24),
        "ours, not compiled": lambda: _ours(_with(stage, compile=False), device, 6 if quick else 24),
        "fla in a plain loop": lambda: _fla(stage, device, 2 if quick else 24),
        "the original way": lambda: _original(stage, device, 2 if quick else 4),
    }
    figures: dict[str, Any] = {}
    for name, way in ways.items():
        begun = time.monotonic()
        try:
            figures[name] = way()
        except (ImportError, RuntimeError, ValueError) as error:
            figures[name] = {"failed": f"{type(error).__name__}: {str(error)[:300]}"}
        figures[name]["part_s"] = round(time.monotonic() - begun, 1)
        print(f"{name:<22}{_told(figures[name])}", flush=True)
        if device.type == "cuda":
            torch.cuda.empty_cache()
    speed = {name: found["tokens_s"] for name, found in figures.items() if "tokens_s" in found}
    for name, tokens_s in speed.items():
        figures[name]["gpu_hours_for_1B"] = round(PROTOCOL_TOKENS / tokens_s / 3600, 4)
    ratios = {f"ours / {name}": round(speed["ours"] / speed[name], 2) for name in speed if name != "ours"}
    print(f"{ratios}; GPU-hours for 1.05 billion tokens: {figures['ours'].get('gpu_hours_for_1B')} (goal 0.25)")
    return {"ways": figures, "ratios": ratios, "flops_per_token": _flops_per_token(stage.size)}


def kernels(quick: bool) -> dict[str, Any]:
    """benchmarks/gpu_kernels.py writes its own table."""
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu_kernels.py"), *(["--quick"] if quick else [])]
    return {"exit_code": subprocess.run(command, check=False).returncode}


def lengths(quick: bool) -> dict[str, Any]:
    """`python -m models bench` over lengths, bfloat16."""
    out = RESULTS / "gpu" / "lengths_table.json"
    wide = ["--lengths", "1024", "4096", "16384", "32768", "--tokens", "32768", "--hidden-size", "1024", "--dtype"]
    sizes = ["--lengths", "64", "--tokens", "64", "--hidden-size", "32", "--num-heads", "2", "--dtype", "float32"]
    device = ["--device", "cuda" if torch.cuda.is_available() else "cpu"]
    where = [] if quick else ["--out", str(out)]
    command = [sys.executable, "-m", "models", "bench", *(sizes if quick else [*wide, "bfloat16"]), *device, *where]
    code = subprocess.run(command, check=False, cwd=ROOT).returncode
    return {"exit_code": code, "timings": json.loads(out.read_text()) if not quick and out.is_file() else []}


def tests(quick: bool) -> dict[str, Any]:
    """Tests marked gpu; skipped ones say why."""
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-m", "gpu", "tests/kernels", "tests/models"]
    command += ["-p", "no:cacheprovider", "--collect-only"] if quick else ["-p", "no:cacheprovider"]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    print(done.stdout[-3000:])
    return {"exit_code": done.returncode, "tail": done.stdout.splitlines()[-8:]}


PARTS: dict[str, Callable[[bool], dict[str, Any]]] = {
    "trainer": trainer,
    "kernels": kernels,
    "lengths": lengths,
    "tests": tests,
}


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


def _told(found: dict[str, Any]) -> str:
    return "  ".join(f"{key} {value}" for key, value in found.items())


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


def main() -> int:
    """Run the parts that are asked for or missing; each writes its table before the next begins."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=tuple(PARTS), action="append", help="again, whatever results there are")
    parser.add_argument("--quick", action="store_true", help="tiny sizes; prints only")
    parser.add_argument("--results", type=Path, default=RESULTS / "gpu")
    options = parser.parse_args()
    if not torch.cuda.is_available() and not options.quick:
        print("no CUDA device: nothing was measured (--quick shows that the script runs)")
        return 1
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    for name in options.part or PARTS:
        if not options.part and not options.quick and (options.results / f"{name}.json").is_file():
            print(f"{name}: has a result, left alone")
            continue
        print(f"== {name}", flush=True)
        figures = {"device": device, **PARTS[name](options.quick)}
        if not options.quick:
            print(f"written: {write_result(name, figures, options.results)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
