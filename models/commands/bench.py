"""`python -m models bench`: a mixer's time, memory and decoding state over sequence lengths, on this machine.

Published mixers alone, since they run in this process. What is timed is the mixer by itself, without its host: forward,
forward and backward, and one step of decoding. Figures depend on the machine; the state does not.

Shapes: B batch, T time, D width.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from models.backbone import candidate_layer
from models.commands.mixers import add_slot
from models.commands.mixers import named as find
from models.commands.results import require_writable, write_json
from models.commands.trials import require_backend, require_device
from models.cost import tensor_bytes
from models.loading import load_mixer
from models.scale import ModelSize
from models.slots import slot_named

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_TRIED = 32  # steps of the sequence that shows whether a mixer runs at all
_DECODED = 16  # steps that a decoding is timed over, behind a few that are not


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """One mixer at one length."""

    mixer: str
    length: int
    batch: int
    forward_tokens_s: float
    train_tokens_s: float  # forward and backward
    peak_bytes: int | None  # of a forward and backward; CUDA alone says
    decode_tokens_s: float | None  # one sequence, after `length` tokens
    state_bytes: int | None  # of one layer for one sequence, after `length` tokens


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `bench`."""
    parser.description = "Time published mixers over sequence lengths: training, decoding, and the state it carries."
    add_slot(parser)
    parser.add_argument("--mixers", nargs="+", metavar="NAME", help="default: everything published")
    parser.add_argument("--lengths", type=int, nargs="+", default=[1024, 2048, 4096], help="tokens in a sequence")
    parser.add_argument("--tokens", type=int, default=4096, help="tokens at once; long sequences come alone")
    parser.add_argument("--hidden-size", type=int, default=256)
    parser.add_argument("--num-heads", type=int, default=8)
    parser.add_argument("--ffn-width", type=int, help="of channel mixers; default: 8/3 of the hidden size")
    parser.add_argument("--dtype", choices=tuple(_DTYPES), default="float32")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, metavar="FILE.json")


def run(options: argparse.Namespace) -> int:
    """Measure and print a line for each mixer and length. Raises ValueError for what the user has to mend."""
    slot = slot_named(options.slot)
    require_backend()
    require_device(options.device)
    names = [find(slot, text).name for text in options.mixers or slot.published]
    _check(options)
    if unknown := [name for name in names if name not in slot.published]:
        raise ValueError(f"--mixers has {unknown[0]!r}: files run in this process here, so name published mixers only")
    torch.set_num_threads(options.threads)
    for name in names:
        _require_running(name, options)
    require_writable(options.out)
    print(f"D = {options.hidden_size}, {options.num_heads} heads, {options.dtype}, {options.device}")
    print(
        f"{'mixer':<26}{'T':>7}{'B':>5}{'forward tok/s':>16}{'train tok/s':>14}{'peak MB':>10}"
        f"{'decode tok/s':>14}{'state bytes':>13}"
    )
    timings = []
    for name in names:
        source = find(slot, name).source
        for length in options.lengths:
            timing = measure(name, load_mixer(source, slot.entry), length, options)
            timings.append(timing)
            print(_row(timing), flush=True)
    write_json(options.out, [asdict(timing) for timing in timings])
    return 0


def measure(name: str, mixer_class: type[nn.Module], length: int, options: argparse.Namespace) -> Timing:
    """One mixer at one length; the median of the repeats after one that is not counted."""
    device, dtype = torch.device(options.device), _DTYPES[options.dtype]
    mixer = _built(mixer_class, options)
    batch = max(1, options.tokens // length)
    x_BTD = torch.randn(batch, length, options.hidden_size, device=device, dtype=dtype)

    def forward() -> None:
        with torch.no_grad():
            mixer(x_BTD)

    def train() -> None:
        mixer(x_BTD.detach().requires_grad_()).sum().backward()

    on_gpu = device.type == "cuda"
    forward_s = _median_s(forward, options.repeats, on_gpu)
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    train_s = _median_s(train, options.repeats, on_gpu)
    peak_bytes = int(torch.cuda.max_memory_allocated()) if on_gpu else None
    decode_s, state_bytes = _decoding(mixer.eval(), x_BTD[:1], on_gpu)
    return Timing(
        mixer=name,
        length=length,
        batch=batch,
        forward_tokens_s=batch * length / forward_s,
        train_tokens_s=batch * length / train_s,
        peak_bytes=peak_bytes,
        decode_tokens_s=None if decode_s is None else 1.0 / decode_s,
        state_bytes=state_bytes,
    )


def _check(options: argparse.Namespace) -> None:
    given = {name: getattr(options, name) for name in ("tokens", "hidden_size", "num_heads", "threads", "repeats")}
    if options.ffn_width is not None:
        given["ffn_width"] = options.ffn_width
    given |= {f"lengths[{n}]": length for n, length in enumerate(options.lengths)}
    for name, value in given.items():
        if value < 1:
            raise ValueError(f"--{name.replace('_', '-')} is {value}; give 1 or more")
    _size(options)


def _size(options: argparse.Namespace) -> ModelSize:
    return ModelSize(
        num_layers=1,
        hidden_size=options.hidden_size,
        num_heads=options.num_heads,
        ffn_width=options.ffn_width or max(8, round(options.hidden_size / 3) * 8),
        vocab_size=1,
    )


def _built(mixer_class: type[nn.Module], options: argparse.Namespace) -> nn.Module:
    torch.manual_seed(0)
    size = _size(options)
    mixer = candidate_layer(slot_named(options.slot), mixer_class, size, size.ffn_width, 0)
    return mixer.to(torch.device(options.device), _DTYPES[options.dtype])


def _require_running(name: str, options: argparse.Namespace) -> None:
    """A short sequence and a step, before anything is measured: what this size does not allow is the user's to mend."""
    slot = slot_named(options.slot)
    length = min(_TRIED, *options.lengths)
    try:
        mixer = _built(load_mixer(find(slot, name).source, slot.entry), options)
        with torch.no_grad():
            x_1TD = torch.zeros(1, length, options.hidden_size, device=options.device, dtype=_DTYPES[options.dtype])
            mixer(x_1TD)
            _decoding(mixer.eval(), x_1TD[:, :1], on_gpu=False)
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"{name} does not run at --hidden-size {options.hidden_size} with --num-heads {options.num_heads} "
            f"({str(error).splitlines()[0]}): choose other sizes"
        ) from error


def _decoding(mixer: nn.Module, x_1TD: torch.Tensor, on_gpu: bool) -> tuple[float | None, int | None]:
    """Seconds of a step behind T - 16 others, and the bytes of the state then; None where no step is offered.

    A state of bounded size is the same after any number of steps, so that only growing ones are stepped all the way.
    """
    step = getattr(mixer, "step", None)
    if step is None:
        return None, None
    bounded = getattr(mixer, "state_bytes", None) is not None
    length, timed = x_1TD.shape[1], min(_DECODED, x_1TD.shape[1])
    first = length - 2 * _DECODED if bounded else 0
    state: object = None
    begun = 0.0
    with torch.no_grad():
        for t in range(max(0, first), length):
            if t == length - timed:
                _wait(on_gpu)
                begun = time.perf_counter()
            _, state = step(x_1TD[:, t], state)
        _wait(on_gpu)
    return (time.perf_counter() - begun) / timed, tensor_bytes(state)


def _median_s(work: Callable[[], None], repeats: int, on_gpu: bool) -> float:
    times = []
    for repeat in range(repeats + 1):
        _wait(on_gpu)
        begun = time.perf_counter()
        work()
        _wait(on_gpu)
        if repeat:
            times.append(time.perf_counter() - begun)
    return statistics.median(times)


def _wait(on_gpu: bool) -> None:
    if on_gpu:
        torch.cuda.synchronize()


def _row(timing: Timing) -> str:
    peak = "-" if timing.peak_bytes is None else f"{timing.peak_bytes / 1e6:.0f}"
    decode = "-" if timing.decode_tokens_s is None else f"{timing.decode_tokens_s:,.0f}"
    state = "-" if timing.state_bytes is None else f"{timing.state_bytes:,}"
    return (
        f"{timing.mixer:<26}{timing.length:>7}{timing.batch:>5}{timing.forward_tokens_s:>16,.0f}"
        f"{timing.train_tokens_s:>14,.0f}{peak:>10}{decode:>14}{state:>13}"
    )
