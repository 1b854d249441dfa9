"""The fused Triton kernels against their definitions: on CUDA where there is one, else through Triton's interpreter."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ON_CUDA = torch.cuda.is_available()
if not ON_CUDA:
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when triton is imported

triton = pytest.importorskip("triton", reason="needs triton, which has no build for this system")

from kernels import path_fusion, two_scale_fir  # noqa: E402
from kernels.fused import path_fusion as fused_path_fusion  # noqa: E402
from kernels.fused import two_scale_fir as fused_two_scale_fir  # noqa: E402
from kernels.testing import poisoned_memory, relative_error  # noqa: E402

INTERPRETED = pytest.param("cpu", marks=pytest.mark.skipif(ON_CUDA, reason="kernels are compiled where CUDA is"))
CUDA = pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not ON_CUDA, reason="needs a CUDA device")])
DEVICES = [INTERPRETED, CUDA]
GATES = {"softmax": (), "sigmoid": (), "two_stage": (1, 3), "two_stage of pairs": (2, 2)}
BOUND = {torch.float32: 1e-5, torch.bfloat16: 2.0**-7, torch.float16: 3e-3}


def fusion_inputs(generator, device, *, gate, time, dtype=torch.float32, width=20, num_paths=4):
    """Paths, logits, a temperature for each head, floors for each step, head and path; and the gate's options."""

    def normal(last, dtype=torch.float32):
        return torch.randn(2, time, 3, last, generator=generator).to(device, dtype).requires_grad_()

    groups = GATES[gate]
    paths = [normal(width, dtype) for _ in range(num_paths)]
    temperature = (torch.rand(3, generator=generator) + 0.5).to(device).requires_grad_()
    floor = (torch.rand(2, time, 3, num_paths, generator=generator) / 10).to(device).requires_grad_()
    logits = normal(num_paths + len(groups), dtype)
    return paths, logits, temperature, floor, {"gate": gate.split()[0], "groups": groups}


def worst_fusion_error(generator, paths, logits, temperature, floor, options):
    """Output and all gradients against the definition."""
    given = [*paths, logits, temperature, floor]
    leaves = [x for x in given if isinstance(x, torch.Tensor) and x.requires_grad]
    upstream = torch.randn(paths[0].shape, generator=generator).to(paths[0])
    results = []
    for form in (path_fusion.reference, fused_path_fusion.fused):
        with poisoned_memory():
            out = form(paths, logits, temperature=temperature, floor=floor, **options)
            results.append([out, *torch.autograd.grad(out, leaves, upstream)])
    return worst_error(*results)


def worst_error(truths, founds):
    floor = 0.01 * max(float(truth.detach().abs().max()) for truth in truths)
    return max(relative_error(found, truth, floor=floor) for truth, found in zip(truths, founds, strict=True))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("time", [1, 63, 65])
def test_path_fusion_agrees_with_the_definition(time, gate, device, generator):
    *tensors, options = fusion_inputs(generator, device, gate=gate, time=time)
    assert worst_fusion_error(generator, *tensors, options) < BOUND[torch.float32]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize(("temperature", "floor"), [(1.0, 0.0), (0.3, 0.1)])
def test_path_fusion_takes_numbers_for_temperature_and_floor(temperature, floor, gate, device, generator):
    paths, logits, _, _, options = fusion_inputs(generator, device, gate=gate, time=5)
    assert worst_fusion_error(generator, paths, logits, temperature, floor, options) < BOUND[torch.float32]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", [(), (4,), (3, 4), (3, 1)])
def test_path_fusion_gives_a_broadcast_floor_its_own_gradient(shape, device, generator):
    paths, logits, temperature, _, options = fusion_inputs(generator, device, gate="softmax", time=5)
    floor = (torch.rand(shape, generator=generator) / 10).to(device).requires_grad_()
    assert worst_fusion_error(generator, paths, logits, temperature, floor, options) < BOUND[torch.float32]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("gate", GATES)
def test_path_fusion_in_half_precision(gate, dtype, device, generator):
    *tensors, options = fusion_inputs(generator, device, gate=gate, time=9, dtype=dtype)
    assert worst_fusion_error(generator, *tensors, options) < BOUND[dtype]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("width", "num_paths"), [(1, 1), (16, 8), (130, 2), (4, 11)])
def test_path_fusion_of_any_width_and_number_of_paths(width, num_paths, device, generator):
    *tensors, options = fusion_inputs(
        generator, device, gate="softmax", time=3, width=width, num_paths=num_paths, dtype=torch.float32
    )
    assert worst_fusion_error(generator, *tensors, options) < BOUND[torch.float32]


@pytest.mark.parametrize("device", DEVICES)
def test_path_fusion_reads_tensors_of_any_layout(device, generator):
    paths, logits, _, floor, options = fusion_inputs(generator, device, gate="softmax", time=7)
    turned = [path.detach().transpose(1, 2).contiguous().transpose(1, 2).requires_grad_() for path in paths]
    spread = logits.detach().repeat_interleave(2, -1)[..., ::2].requires_grad_()
    heat = torch.tensor([0.5, 9.0, 1.0, 9.0, 2.0, 9.0], device=device)[::2].requires_grad_()
    shuffled = floor.detach().permute(3, 1, 0, 2).contiguous().permute(2, 1, 3, 0).requires_grad_()
    assert not any(x.is_contiguous() for x in (*turned, spread, heat, shuffled))
    assert worst_fusion_error(generator, turned, spread, heat, shuffled, options) < BOUND[torch.float32]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("frozen", [(0,), (1, 2), (4,), (4, 5, 6), (0, 1, 2, 3)])
def test_path_fusion_computes_only_the_gradients_that_are_needed(frozen, device, generator):
    paths, logits, temperature, floor, options = fusion_inputs(generator, device, gate="softmax", time=5)
    for number, tensor in enumerate((*paths, logits, temperature, floor)):
        tensor.requires_grad_(number not in frozen)
    assert worst_fusion_error(generator, paths, logits, temperature, floor, options) < BOUND[torch.float32]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("empty", ["batch", "time"])
def test_path_fusion_of_nothing_is_nothing(empty, device, generator):
    paths, logits, temperature, _, options = fusion_inputs(generator, device, gate="softmax", time=3)
    paths, logits = ([x[:0] if empty == "batch" else x[:, :0] for x in given] for given in (paths, [logits]))
    out = fused_path_fusion.fused(paths, logits[0], temperature=temperature, **options)
    assert out.shape == paths[0].shape
    out.sum().backward()
    assert temperature.grad.tolist() == [0.0] * 3


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_given_weights_mix_as_in_the_definition(dtype, device, generator):
    paths, weights, _, _, _ = fusion_inputs(generator, device, gate="softmax", time=65, dtype=dtype)
    upstream = torch.randn(paths[0].shape, generator=generator).to(paths[0])
    results = []
    for form in (path_fusion.mix, fused_path_fusion.mix):
        with poisoned_memory():
            out = form(paths, weights)
            results.append([out, *torch.autograd.grad(out, [*paths, weights], upstream)])
    assert worst_error(*results) < BOUND[dtype]


def test_path_fusion_refuses_float64(generator):
    paths, logits, _, _, _ = fusion_inputs(generator, "cpu", gate="softmax", time=1)
    with pytest.raises(ValueError, match=r"torch.float64; the fused kernel has float32 alone"):
        fused_path_fusion.fused([path.double() for path in paths], logits.double())


def fir_inputs(generator, device, *, time, taps, dtype=torch.float32, batch=2, width=5):
    x = torch.randn(batch, time, width, generator=generator).to(device, dtype)
    short, long = (torch.randn(width, n, generator=generator).to(device) for n in taps)
    state = torch.randn(batch, max(taps) - 1, width, generator=generator).to(device)
    return [tensor.requires_grad_() for tensor in (x, short, long, state)]


def worst_fir_error(generator, x, short, long, state=None):
    """Outputs, final state and all gradients against the definition."""
    leaves = [tensor for tensor in (x, short, long, state) if tensor is not None and tensor.requires_grad]
    upstream = [torch.randn(x.shape, generator=generator).to(x) for _ in range(2)]
    results = []
    for form in (two_scale_fir.reference, fused_two_scale_fir.fused):
        with poisoned_memory():
            answer, final = form(x, short, long, initial_state=state, output_final_state=True)
            outputs = [*answer, final] if final.requires_grad else [*answer]
            gradients = torch.autograd.grad(outputs, leaves, [*upstream, final.detach()][: len(outputs)])
            results.append([*answer, final, *gradients])
    return worst_error(*results)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("time", "taps", "batch"), [(1, (3, 7), 2), (9, (12, 2), 2), (63, (1, 5), 1), (65, (3, 20), 1)]
)
def test_fir_agrees_with_the_definition(time, taps, batch, device, generator):
    tensors = fir_inputs(generator, device, time=time, taps=taps, batch=batch)
    assert worst_fir_error(generator, *tensors) < BOUND[torch.float32]


@pytest.mark.parametrize("device", DEVICES)
def test_fir_gradients_summed_over_several_turns_of_a_program(device, generator, monkeypatch):
    monkeypatch.setattr(fused_two_scale_fir, "_PROGRAMS", 2)  # 3 tiles for 2 programs: the last turn is one too many
    tensors = fir_inputs(generator, device, time=130, taps=(2, 8), batch=1)
    assert worst_fir_error(generator, *tensors) < BOUND[torch.float32]


@pytest.mark.parametrize("device", DEVICES)
def test_fir_starts_from_zeros_without_a_state_and_reads_any_layout(device, generator):
    x, short, long, _ = fir_inputs(generator, device, time=17, taps=(3, 10), width=66)
    turned = x.detach().transpose(1, 2).contiguous().transpose(1, 2).requires_grad_()
    assert not turned.is_contiguous()
    assert worst_fir_error(generator, turned, short, long) < BOUND[torch.float32]


@pytest.mark.parametrize("device", DEVICES)
def test_fir_in_half_precision(device, generator):
    x, short, long, _ = fir_inputs(generator, device, time=17, taps=(3, 11), dtype=torch.bfloat16)
    assert worst_fir_error(generator, x, short, long) < BOUND[torch.bfloat16]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("frozen", [(0, 2), (1, 3)])
def test_fir_computes_only_the_gradients_that_are_needed(frozen, device, generator):
    tensors = fir_inputs(generator, device, time=3, taps=(2, 4))
    for number, tensor in enumerate(tensors):
        tensor.requires_grad_(number not in frozen)
    assert worst_fir_error(generator, *tensors) < BOUND[torch.float32]


@pytest.mark.parametrize("device", DEVICES)
def test_fir_with_one_output_unused(device, generator):
    x, short, long, _ = fir_inputs(generator, device, time=5, taps=(2, 4))
    (_, far), _ = fused_two_scale_fir.fused(x, short, long)
    (_, truth), _ = two_scale_fir.reference(x, short, long)
    found = torch.autograd.grad(far.sum(), [x, long])
    torch.testing.assert_close(found, torch.autograd.grad(truth.sum(), [x, long]))


@pytest.mark.parametrize("device", DEVICES)
def test_future_inputs_cannot_change_fir_outputs(device, generator):
    x, short, long, _ = (tensor.detach() for tensor in fir_inputs(generator, device, time=65, taps=(3, 12), batch=1))
    changed = torch.cat([x[:, :33], 1e4 * x[:, 33:]], 1)
    before, _ = fused_two_scale_fir.fused(x, short, long)
    after, _ = fused_two_scale_fir.fused(changed, short, long)
    for old, new in zip(before, after, strict=True):
        assert torch.equal(old[:, :33], new[:, :33])
        assert not torch.equal(old[:, 33], new[:, 33])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("empty", ["batch", "time"])
def test_fir_of_nothing_is_nothing(empty, device, generator):
    x, short, long, state = fir_inputs(generator, device, time=3, taps=(2, 4))
    x, state = (x[:0], state[:0]) if empty == "batch" else (x[:, :0], state)
    answer, final = fused_two_scale_fir.fused(x, short, long, initial_state=state, output_final_state=True)
    assert answer.long.shape == x.shape
    assert torch.equal(final, state)
    (answer.short.sum() + answer.long.sum()).backward()
    assert not long.grad.any()


def test_fir_refuses_float64(generator):
    x, short, long, _ = fir_inputs(generator, "cpu", time=1, taps=(2, 4))
    with pytest.raises(ValueError, match=r"torch.float64; the fused kernel has float32 alone"):
        fused_two_scale_fir.fused(x.double(), short, long)


@pytest.mark.parametrize("device", [pytest.param("cpu", marks=[pytest.mark.nightly, *INTERPRETED.marks]), CUDA])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_long_sequences(dtype, device, generator):
    *tensors, options = fusion_inputs(generator, device, gate="two_stage", time=1000, dtype=dtype, width=128)
    assert worst_fusion_error(generator, *tensors, options) < BOUND[dtype]
    tensors = fir_inputs(generator, device, time=1000, taps=(3, 64), dtype=dtype, width=70)
    assert worst_fir_error(generator, *tensors) < BOUND[dtype]


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's own, while it traces
@pytest.mark.parametrize("device", DEVICES)
def test_compiled_models_call_the_kernels_without_a_break(device, generator):
    paths, logits, temperature, floor, _ = fusion_inputs(generator, device, gate="softmax", time=3, width=6)
    _, short, long, _ = fir_inputs(generator, device, time=3, taps=(2, 4), width=18)

    def mixed(paths, logits, temperature, floor, short, long):
        (near, far), _ = fused_two_scale_fir.fused(paths[0].flatten(2) * 2, short, long)
        local = [near.unflatten(2, (3, 6)), far.unflatten(2, (3, 6))]
        return fused_path_fusion.fused([*local, *paths[2:]], logits, temperature=temperature, floor=floor).tanh()

    leaves = [paths[0], *paths[2:], logits, temperature, floor, short, long]
    results = []
    for form in (mixed, torch.compile(mixed, backend="aot_eager", fullgraph=True)):
        out = form(paths, logits, temperature, floor, short, long)
        results.append([out, *torch.autograd.grad(out.sum(), leaves)])
    assert worst_error(*results) < 1e-6


@pytest.mark.skipif(sys.platform != "linux", reason="Triton's compiler for CUDA is built for Linux alone")
@pytest.mark.nightly
@pytest.mark.parametrize("long_taps", [5, 64])
def test_kernels_compile_for_hopper_without_one(long_taps, tmp_path):
    told = subprocess.run(
        [sys.executable, "-W", "ignore", str(Path(__file__).with_name("compile_for_hopper.py")), str(long_taps)],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": ":".join(sys.path), "TRITON_CACHE_DIR": str(tmp_path)},
    )
    assert told.returncode == 0, told.stderr[-3000:]
    lines = [line.split() for line in told.stdout.splitlines()]
    assert len(lines) == 8 + 2 * (long_taps > 8)
    for name, _, spilled, _, _, accesses in lines:
        assert int(spilled) <= 16, f"{name} spills {spilled} bytes of registers a thread"
        assert "ld.global.v" in accesses, f"{name} loads element after element: {accesses}"
