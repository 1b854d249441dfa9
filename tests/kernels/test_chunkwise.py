"""The fast forms against the definitions: outputs and every gradient."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from kernels import chunkwise, reference
from kernels.testing import SEQUENCE_OPERATORS, Shape, agreement, poisoned_memory, sequence_inputs

LENGTHS = (1, 31, 63, 64, 65, 130)
GATED = ("simple_gla", "gla", "gated_delta_rule")
every_operator = pytest.mark.parametrize("operator", SEQUENCE_OPERATORS)
every_length = pytest.mark.parametrize("time", LENGTHS)


def _agreement(operator, inputs, **options):
    return agreement(operator, getattr(chunkwise, operator), inputs, **options)


@every_operator
@every_length
@pytest.mark.parametrize(("key_dim", "value_dim"), [(16, 16), (8, 24), (3, 1)])
def test_float64_agrees_with_the_recurrence(operator, time, key_dim, value_dim, generator):
    shape = Shape(time=time, key_dim=key_dim, value_dim=value_dim)
    inputs = sequence_inputs(operator, shape, generator=generator, dtype=torch.float64)
    assert _agreement(operator, inputs).worst < 1e-10


@every_operator
def test_long_chunks_of_wide_heads_agree_too(operator, generator):
    shape = Shape(batch=1, time=133, heads=2, key_dim=48, value_dim=40)
    inputs = sequence_inputs(operator, shape, generator=generator, dtype=torch.float64)
    assert _agreement(operator, inputs).worst < 1e-10


@every_operator
@every_length
def test_float32_agrees_with_the_recurrence(operator, time, generator):
    inputs = sequence_inputs(operator, Shape(time=time), generator=generator, dtype=torch.float32)
    assert _agreement(operator, inputs).worst < 2e-5


@every_operator
def test_bfloat16_costs_no_more_than_rounding_the_result(operator, generator):
    inputs = sequence_inputs(operator, Shape(time=65), generator=generator, dtype=torch.bfloat16)
    found = _agreement(operator, inputs)
    assert 1e-5 < found.output < 2.0**-8
    assert found.worst < 2.0**-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@every_length
def test_normalised_linear_attention_agrees(dtype, time, generator):
    inputs = sequence_inputs("linear_attn", Shape(time=time), generator=generator, dtype=dtype)
    inputs = {name: x if name == "v" else F.elu(x) + 1 for name, x in inputs.items()}
    tolerance = 1e-10 if dtype == torch.float64 else 2e-5
    assert _agreement("linear_attn", inputs, normalize=True).worst < tolerance


@pytest.mark.parametrize("scale", [1.0, 0.3])
@every_operator
def test_a_given_scale_replaces_the_default(operator, scale, generator):
    inputs = sequence_inputs(operator, Shape(time=33), generator=generator, dtype=torch.float64)
    assert _agreement(operator, inputs, scale=scale).worst < 1e-10


@pytest.mark.parametrize("operator", GATED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_strong_decay_neither_overflows_nor_loses_precision(operator, dtype, generator):
    inputs = sequence_inputs(operator, Shape(time=130), generator=generator, dtype=dtype, strongest_decay=-20.0)
    # bursts of strong decay between stretches that keep nearly everything, and some steps that forget all
    mask = torch.rand(inputs["g"].shape, generator=generator) < 0.7
    inputs["g"] = torch.where(mask, inputs["g"] * 1e-4, inputs["g"]).detach().requires_grad_()
    assert _agreement(operator, inputs).worst < (1e-10 if dtype == torch.float64 else 1e-4)
    constant = {**inputs, "g": torch.full_like(inputs["g"], -20.0)}
    assert _agreement(operator, constant).worst < (1e-10 if dtype == torch.float64 else 2e-5)


@pytest.mark.parametrize("operator", GATED)
def test_infinite_log_decay_forgets_everything(operator, generator):
    inputs = sequence_inputs(operator, Shape(time=70), generator=generator, dtype=torch.float64)
    g = inputs["g"].detach().clone()
    g[:, ::7] = -torch.inf
    form = getattr(chunkwise, operator)
    whole = form(**{**inputs, "g": g})
    assert torch.isfinite(whole).all()
    fresh = form(**{**{name: x[:, 35:] for name, x in inputs.items()}, "g": g[:, 35:]})
    torch.testing.assert_close(whole[:, 35:], fresh, rtol=0, atol=1e-12)
    whole.sum().backward()
    assert all(torch.isfinite(x.grad).all() for name, x in inputs.items() if name != "g")


@pytest.mark.parametrize("operator", ["delta_rule", "gated_delta_rule"])
def test_repeated_keys_at_full_strength_stay_exact(operator, generator):
    inputs = sequence_inputs(operator, Shape(time=130), generator=generator, dtype=torch.float32)
    inputs["k"] = F.normalize(torch.ones_like(inputs["k"]), dim=-1)
    inputs["beta"] = torch.full_like(inputs["beta"], 1.0)
    assert _agreement(operator, inputs).output < 2e-5


@every_operator
def test_memory_that_nobody_wrote_is_never_read(operator, generator):
    inputs = sequence_inputs(operator, Shape(time=65), generator=generator, dtype=torch.float32)
    with poisoned_memory():
        assert torch.empty(3).isnan().all()
        found = _agreement(operator, inputs)
    assert found.worst < 2e-5


@every_operator
@pytest.mark.parametrize("cut", [1, 15, 16, 17, 32, 63, 64, 100])
@pytest.mark.parametrize("size", [0.01, 100.0])
def test_future_steps_cannot_change_outputs(operator, cut, size, generator):
    shape = Shape(time=130)
    scaled = ("q", "v") if "delta" in operator else ("q", "k", "v")  # keys of the delta rules keep their norm
    first = sequence_inputs(operator, shape, generator=generator, dtype=torch.float32)
    second = sequence_inputs(operator, shape, generator=generator, dtype=torch.float32, strongest_decay=-20.0)
    mixed = {
        name: torch.cat([x[:, :cut], second[name][:, cut:] * (size if name in scaled else 1.0)], 1)
        for name, x in first.items()
    }
    form = getattr(chunkwise, operator)
    before, after = form(**first), form(**mixed)
    torch.testing.assert_close(before[:, :cut], after[:, :cut], rtol=0, atol=0)
    assert not torch.equal(before[:, cut:], after[:, cut:])


@every_operator
@pytest.mark.parametrize("time", [1, 16, 31, 64, 65, 129])
def test_a_prefix_alone_gives_the_same_outputs(operator, time, generator):
    inputs = sequence_inputs(operator, Shape(time=130), generator=generator, dtype=torch.float32)
    form = getattr(chunkwise, operator)
    alone = form(**{name: x[:, :time] for name, x in inputs.items()})
    torch.testing.assert_close(form(**inputs)[:, :time], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("operator", SEQUENCE_OPERATORS)
def test_sequences_of_a_batch_do_not_mix(operator, generator):
    inputs = sequence_inputs(operator, Shape(time=70, batch=3), generator=generator, dtype=torch.float64)
    form = getattr(chunkwise, operator)
    alone = form(**{name: x[1:2] for name, x in inputs.items()})
    torch.testing.assert_close(form(**inputs)[1:2], alone, rtol=1e-12, atol=1e-12)


def test_inverse_has_first_and_second_gradients(generator):
    lower = torch.randn(2, 5, 5, generator=generator, dtype=torch.float64).tril(-1).requires_grad_()
    inverse = chunkwise._UnitLowerInverse.apply
    identity = torch.eye(5, dtype=torch.float64)
    torch.testing.assert_close((identity + lower.detach()) @ inverse(lower.detach()), identity.expand(2, 5, 5))
    assert torch.autograd.gradcheck(lambda a: inverse(a.tril(-1)), lower)
    assert torch.autograd.gradgradcheck(lambda a: inverse(a.tril(-1)), lower)


@pytest.mark.parametrize("taps", [1, 3, 4, 31])
@pytest.mark.parametrize("time", [1, 3, 65])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_convolution_agrees_with_its_definition(taps, time, dtype, tolerance, generator):
    x = torch.randn(2, time, 6, generator=generator, dtype=dtype)
    weight = torch.randn(6, taps, generator=generator, dtype=dtype)
    found = agreement("causal_conv", chunkwise.causal_conv, {"x": x, "weight": weight})
    assert found.worst < tolerance


@pytest.mark.parametrize("cut", [1, 2, 30, 64])
def test_convolution_ignores_large_future_steps(cut, generator):
    weight = torch.randn(6, 16, generator=generator)
    x = torch.randn(2, 65, 6, generator=generator)
    changed = x.clone()
    changed[:, cut:] *= 1e6
    before, after = chunkwise.causal_conv(x, weight), chunkwise.causal_conv(changed, weight)
    torch.testing.assert_close(before[:, :cut], after[:, :cut], rtol=0, atol=0)
    assert not torch.equal(before[:, cut:], after[:, cut:])


@pytest.mark.parametrize("num_paths", [1, 2, 5])
def test_fusion_agrees_with_its_definition(num_paths, generator):
    paths = torch.randn(num_paths, 2, 7, 3, 4, generator=generator, dtype=torch.float64)
    weights = torch.rand(2, 7, 3, num_paths, generator=generator, dtype=torch.float64)

    def of_stack(form):
        return lambda stacked, weights: form(list(stacked.unbind(0)), weights)

    stacked, other = paths.clone().requires_grad_(), paths.clone().requires_grad_()
    fast, slow = of_stack(chunkwise.fuse_paths)(stacked, weights), of_stack(reference.fuse_paths)(other, weights)
    torch.testing.assert_close(fast, slow)
    fast.square().sum().backward()
    slow.square().sum().backward()
    torch.testing.assert_close(stacked.grad, other.grad)
