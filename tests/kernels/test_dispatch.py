import inspect
import subprocess
import sys

import pytest
import torch

from kernels import chunkwise, dispatch, reference
from kernels.testing import SEQUENCE_OPERATORS, Shape, sequence_inputs

ALL_OPERATORS = (*SEQUENCE_OPERATORS, "causal_conv", "fuse_paths")


@pytest.fixture(autouse=True)
def no_forced_backend(monkeypatch):
    monkeypatch.delenv(dispatch.BACKEND_VARIABLE, raising=False)


def test_chunkwise_computes_by_default():
    assert dispatch.backend() is chunkwise


@pytest.mark.parametrize("name", ["reference", "chunkwise"])
def test_environment_forces_a_backend_at_call_time(name, monkeypatch):
    monkeypatch.setenv(dispatch.BACKEND_VARIABLE, name)
    assert dispatch.backend() is {"reference": reference, "chunkwise": chunkwise}[name]


def test_unknown_backend_names_those_that_exist(monkeypatch):
    monkeypatch.setenv(dispatch.BACKEND_VARIABLE, "fpga")
    with pytest.raises(ValueError, match=r"'fpga' is no backend: use one of reference, chunkwise"):
        dispatch.backend()


@pytest.mark.parametrize("operator", SEQUENCE_OPERATORS)
def test_both_backends_answer_alike(operator, generator, monkeypatch):
    inputs = sequence_inputs(operator, Shape(time=40), generator=generator, dtype=torch.float64)
    fast = getattr(dispatch, operator)(**inputs)
    monkeypatch.setenv(dispatch.BACKEND_VARIABLE, "reference")
    torch.testing.assert_close(fast, getattr(dispatch, operator)(**inputs))


@pytest.mark.parametrize("operator", ALL_OPERATORS)
def test_backends_offer_every_operator_with_one_signature(operator):
    expected = inspect.signature(getattr(dispatch, operator))
    for module in (reference, chunkwise):
        assert inspect.signature(getattr(module, operator)) == expected


@pytest.mark.parametrize("operator", SEQUENCE_OPERATORS)
def test_autocast_does_not_lower_the_states(operator, generator):
    inputs = sequence_inputs(operator, Shape(time=65), generator=generator, dtype=torch.float32)
    plain = getattr(dispatch, operator)(**inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(getattr(dispatch, operator)(**inputs), plain, rtol=0, atol=0)


def test_half_precision_inputs_may_differ_in_dtype(generator):
    inputs = sequence_inputs("delta_rule", Shape(time=5), generator=generator, dtype=torch.float32)
    assert dispatch.delta_rule(**{**inputs, "v": inputs["v"].bfloat16()}).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"q": (2, 5, 12)}, r"q has shape \[2, 5, 12\]; operators take \[B, T, H, K\]"),
        ({"q": (2, 0, 3, 4), "k": (2, 0, 3, 4)}, r"with T >= 1"),
        ({"k": (2, 5, 3, 6)}, r"k has shape \[2, 5, 3, 6\] and q \[2, 5, 3, 4\]"),
        ({"v": (2, 5, 4, 4)}, r"v has shape \[2, 5, 4, 4\]"),
        ({"g": (2, 5, 3, 1)}, r"g has shape \[2, 5, 3, 1\]; it has to be \[2, 5, 3\] \(BTH\)"),
        ({"beta": (2, 3, 5)}, r"beta has shape \[2, 3, 5\]; it has to be \[2, 5, 3\] \(BTH\)"),
    ],
)
def test_wrong_shapes_are_named_with_the_right_one(broken, message):
    shapes = {"q": (2, 5, 3, 4), "k": (2, 5, 3, 4), "v": (2, 5, 3, 4), "g": (2, 5, 3), "beta": (2, 5, 3)}
    inputs = {name: torch.zeros(broken.get(name, shape)) for name, shape in shapes.items()}
    with pytest.raises(ValueError, match=message):
        dispatch.gated_delta_rule(**inputs)


def test_integer_inputs_are_refused():
    x = torch.zeros(1, 2, 1, 4)
    with pytest.raises(ValueError, match=r"k has dtype torch.int64"):
        dispatch.linear_attn(x, x.long(), x)


def test_convolution_and_fusion_name_wrong_shapes():
    with pytest.raises(ValueError, match=r"flatten heads into D"):
        dispatch.causal_conv(torch.zeros(1, 2, 3, 4), torch.zeros(4, 2))
    with pytest.raises(ValueError, match=r"it has to be \[4, taps\]"):
        dispatch.causal_conv(torch.zeros(1, 2, 4), torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"paths is empty"):
        dispatch.fuse_paths([], torch.zeros(1))
    with pytest.raises(ValueError, match=r"for 2 paths it has to be \[1, 2, 3, 2\]"):
        dispatch.fuse_paths([torch.zeros(1, 2, 3, 4)] * 2, torch.zeros(1, 2, 3, 3))


def test_operators_know_torch_and_nothing_else_of_ours():
    code = "import sys, kernels.dispatch; print(sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "'torch'" in loaded
    for package in ("models", "cognition", "agents", "orchestrator", "ray", "duckdb", "hydra", "wandb", "fla"):
        assert f"'{package}'" not in loaded
