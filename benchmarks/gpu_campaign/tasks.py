"""What children of the sandbox do here beside training: look at the device, compile. Trusted code alone.

Shapes: B batch, T time, D model width, H heads, V value dim per head.
"""

from __future__ import annotations

import operator
import os
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from models.backbone import build, fit_ffn_width, reference_parameters
from models.batch import IGNORED
from models.loading import load_mixer
from models.micro_batches import MicroBatches
from models.sandbox import tasks
from models.sandbox.child import Channel, Task
from models.sandbox.watch import tree
from models.scale import Recipe
from models.slots import published_source

CACHES = {"triton": "TRITON_CACHE_DIR", "inductor": "TORCHINDUCTOR_CACHE_DIR", "cuda": "CUDA_CACHE_PATH"}
_WORKERS_S = 60.0
_BOUND = 1e-3  # of what the fused kernels may differ from the definition, relative

warm_up = tasks.warm_up


def look(channel: Channel) -> None:
    """start {device} -> seen {initialised_before, bad_fork, first_touch_s, memory_gb}: the first touch after a fork."""
    device = channel.receive().text("device")
    before = {
        "initialised_before": torch.cuda.is_initialized(),
        "bad_fork": torch.cuda._is_in_bad_fork(),
    }
    begun = time.perf_counter()
    torch.ones(8, device=device).sum().item()
    seconds = round(time.perf_counter() - begun, 3)
    total = torch.cuda.get_device_properties(device).total_memory / 1e9 if device == "cuda" else None
    channel.send("seen", {**before, "first_touch_s": seconds, "memory_gb": total and round(total, 1)})


def compile_all(channel: Channel) -> None:
    """start {device, stage, mixer} -> of workers, triton and inductor each: compiled {what, ...} or broken {what, why};

    then caches {NAME: {files, bytes}, processes}.
    """
    start = channel.receive()
    most = 1
    for what, attempt in (("workers", _workers), ("triton", _triton), ("inductor", _inductor)):
        try:
            found = attempt(start.text("device"), start.body)
        except Exception as error:  # noqa: BLE001  whatever the jail or the compilers say is what was asked for
            channel.send("broken", {"what": what, "why": _last_lines(error)})
        else:
            channel.send("compiled", {"what": what, **found})
        # Its number as the mounted /proc has it: in the jail os.getpid() is that of its own process namespace.
        most = max(most, len(tree(int(os.readlink("/proc/self")), at_most=1_000)))
    channel.send("caches", {**{name: _size_of(variable) for name, variable in CACHES.items()}, "processes": most})


def _workers(device: str, told: Mapping[str, Any]) -> dict[str, Any]:
    """The processes that Inductor compiles Triton's kernels in, on a GPU: started and asked for a product."""
    from torch._inductor.compile_worker.subproc_pool import SubprocPool

    begun = time.perf_counter()
    pool = SubprocPool(2)
    try:
        if (found := pool.submit(operator.mul, 6, 7).result(timeout=_WORKERS_S)) != 42:
            raise ArithmeticError(f"a compiler's process says that 6 x 7 is {found}")
        return {"seconds": round(time.perf_counter() - begun, 2)}
    finally:
        pool.shutdown()


def _triton(device: str, told: Mapping[str, Any]) -> dict[str, Any]:
    """Path fusion and two-scale FIR by way of the dispatch, against their definitions, with gradients."""
    from kernels import dispatch, path_fusion, two_scale_fir
    from kernels.rule import BACKEND_VARIABLE, choose

    if device == "cpu":
        os.environ.update({"TRITON_INTERPRET": "1", BACKEND_VARIABLE: "triton,torch"})
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(device).requires_grad_()

    paths, logits = [normal(2, 48, 2, 16) for _ in range(3)], normal(2, 48, 2, 3)
    x, short, long = normal(2, 48, 32), normal(32, 3), normal(32, 16)
    begun = time.perf_counter()
    apart = max(
        _apart(lambda: [dispatch.path_fusion(paths, logits)], lambda: [path_fusion.reference(paths, logits)]),
        _apart(
            lambda: [*dispatch.two_scale_fir(x, short, long)], lambda: [*two_scale_fir.reference(x, short, long)[0]]
        ),
    )
    chosen = choose(x, dispatch.PATH_FUSION)
    os.environ.pop(BACKEND_VARIABLE, None)
    if not apart <= _BOUND:
        raise ArithmeticError(f"fused kernels are {apart:.2g} from the definition, {_BOUND:g} are allowed")
    return {"backend": chosen, "seconds": round(time.perf_counter() - begun, 2), "apart": apart}


def _apart(ours: Callable[[], list[torch.Tensor]], theirs: Callable[[], list[torch.Tensor]]) -> float:
    """The largest relative distance of outputs; the backward pass of ours has to run, too."""
    outputs = ours()
    torch.stack([output.square().sum() for output in outputs]).sum().backward()
    with torch.no_grad():
        pairs = zip(outputs, theirs(), strict=True)
        return max(float((one - other).norm() / other.norm()) for one, other in pairs)


def _inductor(device: str, told: Mapping[str, Any]) -> dict[str, Any]:
    """Forward and backward of the host at the stage's size by torch.compile, as a training does it, and eager."""
    stage = tasks.stage_of(told["stage"])
    target = reference_parameters(stage.size, "token_mixer")  # before: it loads a mixer, and the last one is compiled
    mixer = load_mixer(published_source("token_mixer", told["mixer"]))
    width = fit_ffn_width(mixer, stage.size, target)
    model = build(mixer, stage.size, width, seed=0).to(device)
    inputs_BT = torch.randint(0, stage.size.vocab_size, (min(4, stage.batch_size), stage.length), device=device)
    targets_BT = inputs_BT.roll(-1, 1)
    targets_BT[:, -1] = IGNORED
    num = int((targets_BT != IGNORED).sum())
    eager = MicroBatches(model, Recipe(precision=stage.recipe.precision))
    failures: list[BaseException] = []

    def compiler(hidden: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
        compiled = torch.compile(hidden)

        def call(inputs: torch.Tensor) -> torch.Tensor:
            try:
                return compiled(inputs)
            except Exception as error:
                failures.append(error)  # MicroBatches goes on without, and says nothing
                raise

        return call

    recipe = Recipe(precision=stage.recipe.precision, compile=True)
    fast = MicroBatches(model, recipe, compiler=compiler)
    losses, seconds = [], []
    for pieces in (eager, eager, fast, fast):
        model.zero_grad(set_to_none=True)
        begun = time.perf_counter()
        losses.append(float(pieces.backward(inputs_BT, targets_BT, num)))  # waits for the device
        seconds.append(round(time.perf_counter() - begun, 4))
    if failures:
        raise failures[0]
    if not fast.compiled:
        raise RuntimeError("the backward pass of what was compiled failed: it went on as it is written")
    return {
        "first_s": seconds[2],
        "again_s": seconds[3],
        "eager_s": seconds[1],
        "loss_apart": abs(losses[2] - losses[0]),
    }


def _size_of(variable: str) -> dict[str, int]:
    folder = os.environ.get(variable)
    files = [path for path in Path(folder).rglob("*") if path.is_file()] if folder else []
    return {"files": len(files), "bytes": sum(path.stat().st_size for path in files)}


def _last_lines(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))[-1_500:]


TASKS: Mapping[str, Task] = {**tasks.TASKS, "look": look, "compile_all": compile_all}
