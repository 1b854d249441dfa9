"""The fast forms against the definitions: outputs and every gradient."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from kernels.decays import UnitLowerInverse
from kernels.forms import CONVOLUTION, GATED_NORM, SEQUENCE
from kernels.linear_attn import normalised, with_normaliser
from kernels.testing import SEQUENCE_OPERATORS, Shape, agreement, poisoned_memory, relative_error, sequence_inputs

LENGTHS = (1, 31, 63, 64, 65, 130)
GATED = ("simple_gla", "gla", "gated_delta_rule", "kda", "dplr_delta_rule")
every_operator = pytest.mark.parametrize("operator", SEQUENCE_OPERATORS)
every_length = pytest.mark.parametrize("time", LENGTHS)


def _agreement(operator, inputs, **options):
    return agreement(SEQUENCE[operator]["definition"], SEQUENCE[operator]["torch"], inputs, **options)


def _form(operator):
    return lambda **inputs: SEQUENCE[operator]["torch"](**inputs)[0]


@every_operator
@every_length
@pytest.mark.parametrize(("key_dim", "value_dim"), [(16, 16), (8, 24), (3, 1)])
def test_float64_agrees_with_the_recurrence(operator, time, key_dim, value_dim, generator):
    shape = Shape(time=time, key_dim=key_dim, value_dim=value_dim)
    inputs = sequence_inputs(operator, shape, generator=generator, dtype=torch.float64)
    assert _agreement(operator, inputs).worst < 1e-10


@every_operator
@pytest.mark.parametrize("time", [1, 16, 33, 65])
def test_states_enter_and_leave(operator, time, generator):
    shape = Shape(time=time, key_dim=8, value_dim=12)
    inputs = sequence_inputs(operator, shape, generator=generator, dtype=torch.float64, with_initial_state=True)
    assert _agreement(operator, inputs, output_final_state=True).worst < 1e-10
    del inputs["initial_state"]
    assert _agreement(operator, inputs, output_final_state=True).worst < 1e-10


@every_operator
@pytest.mark.parametrize("cut", [1, 16, 40, 69])
def test_a_sequence_in_two_pieces_gives_what_it_gives_whole(operator, cut, generator):
    inputs = sequence_inputs(operator, Shape(time=70), generator=generator, dtype=torch.float64)
    form = SEQUENCE[operator]["torch"]
    whole, state = form(**inputs, output_final_state=True)
    head, middle = form(**{name: x[:, :cut] for name, x in inputs.items()}, output_final_state=True)
    rest = {name: x[:, cut:] for name, x in inputs.items()}
    tail, end = form(**rest, initial_state=middle, output_final_state=True)
    torch.testing.assert_close(torch.cat([head, tail], 1), whole)
    torch.testing.assert_close(end, state)


@every_operator
def test_a_thousand_steps_agree(operator, generator):
    shape = Shape(batch=1, time=1000, heads=1, key_dim=8, value_dim=8)
    inputs = sequence_inputs(operator, shape, generator=generator, dtype=torch.float32)
    assert _agreement(operator, inputs).worst < 1e-4


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
@pytest.mark.parametrize("time", [1, 33, 130])
def test_normalised_linear_attention_agrees(dtype, time, generator):
    inputs = sequence_inputs("linear_attn", Shape(time=time), generator=generator, dtype=dtype)
    inputs = {name: x if name == "v" else F.elu(x) + 1 for name, x in inputs.items()}

    def normalising(backend):
        return lambda q, k, v: normalised(SEQUENCE["linear_attn"][backend](q, k, with_normaliser(v))[0])

    found = agreement(normalising("definition"), normalising("torch"), inputs)
    assert found.worst < (1e-10 if dtype == torch.float64 else 2e-5)


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


@pytest.mark.parametrize("strength", [-5.0, -10.0, -15.0, -20.0])
@pytest.mark.parametrize("steady", [True, False])
@pytest.mark.parametrize("operator", GATED)
def test_the_gradient_of_a_strong_decay_keeps_its_digits_in_float32(operator, steady, strength, generator):
    """Judged by itself, however small: gates that are nearly shut still learn to open."""
    inputs = sequence_inputs(operator, Shape(time=70), generator=generator, dtype=torch.float32)
    shut = torch.rand(inputs["g"].shape, generator=generator) < 0.5
    g = torch.full_like(inputs["g"], strength) if steady else torch.where(shut, strength, -1e-3)
    upstream = torch.randn(inputs["v"].shape, generator=generator, dtype=torch.float64)
    gradients = []
    for form, dtype in (("definition", torch.float64), ("torch", torch.float32)):
        leaf = g.detach().to(dtype).requires_grad_()
        out, state = SEQUENCE[operator][form](
            **{name: x.detach().to(dtype) for name, x in inputs.items() if name != "g"}, g=leaf, output_final_state=True
        )
        ((out * upstream.to(dtype)).sum() + state.sum()).backward()
        gradients.append(leaf.grad if steady else leaf.grad[shut])
    assert relative_error(gradients[1], gradients[0]) < 3e-6


@pytest.mark.parametrize("operator", [name for name in GATED if name != "dplr_delta_rule"])  # whose a reads before
def test_infinite_log_decay_forgets_everything(operator, generator):
    inputs = sequence_inputs(operator, Shape(time=70), generator=generator, dtype=torch.float64)
    g = inputs["g"].detach().clone()
    g[:, ::7] = -torch.inf
    form = _form(operator)
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
    form = _form(operator)
    before, after = form(**first), form(**mixed)
    torch.testing.assert_close(before[:, :cut], after[:, :cut], rtol=0, atol=0)
    assert not torch.equal(before[:, cut:], after[:, cut:])


@every_operator
@pytest.mark.parametrize("time", [1, 16, 31, 64, 65, 129])
def test_a_prefix_alone_gives_the_same_outputs(operator, time, generator):
    inputs = sequence_inputs(operator, Shape(time=130), generator=generator, dtype=torch.float32)
    form = _form(operator)
    alone = form(**{name: x[:, :time] for name, x in inputs.items()})
    torch.testing.assert_close(form(**inputs)[:, :time], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("operator", SEQUENCE_OPERATORS)
def test_sequences_of_a_batch_do_not_mix(operator, generator):
    inputs = sequence_inputs(operator, Shape(time=70, batch=3), generator=generator, dtype=torch.float64)
    form = _form(operator)
    alone = form(**{name: x[1:2] for name, x in inputs.items()})
    torch.testing.assert_close(form(**inputs)[1:2], alone, rtol=1e-12, atol=1e-12)


def test_inverse_has_first_and_second_gradients(generator):
    lower = torch.randn(2, 5, 5, generator=generator, dtype=torch.float64).tril(-1).requires_grad_()
    inverse = UnitLowerInverse.apply
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
    found = agreement(CONVOLUTION["definition"], CONVOLUTION["torch"], {"x": x, "weight": weight})
    assert found.worst < tolerance


@pytest.mark.parametrize("cut", [1, 2, 30, 64])
def test_convolution_ignores_large_future_steps(cut, generator):
    weight = torch.randn(6, 16, generator=generator)
    x = torch.randn(2, 65, 6, generator=generator)
    changed = x.clone()
    changed[:, cut:] *= 1e6
    before, after = (CONVOLUTION["torch"](inputs, weight)[0] for inputs in (x, changed))
    torch.testing.assert_close(before[:, :cut], after[:, :cut], rtol=0, atol=0)
    assert not torch.equal(before[:, cut:], after[:, cut:])


@pytest.mark.parametrize("time", [1, 2, 20])
def test_convolution_continues_from_its_last_inputs(time, generator):
    inputs = {
        "x": torch.randn(2, time, 6, generator=generator, dtype=torch.float64),
        "weight": torch.randn(6, 4, generator=generator, dtype=torch.float64),
        "initial_state": torch.randn(2, 3, 6, generator=generator, dtype=torch.float64),
    }
    found = agreement(CONVOLUTION["definition"], CONVOLUTION["torch"], inputs, output_final_state=True)
    assert found.worst < 1e-12


@pytest.mark.parametrize("activation", ["swish", "sigmoid"])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 0.01)]
)
def test_gated_norm_agrees_with_its_definition(activation, dtype, tolerance, generator):
    inputs = {
        "x": torch.randn(2, 7, 3, 16, generator=generator).to(dtype),
        "gate": torch.randn(2, 7, 3, 16, generator=generator).to(dtype),
        "weight": torch.randn(16, generator=generator).to(dtype),
    }
    assert agreement(GATED_NORM["definition"], GATED_NORM["torch"], inputs, activation=activation).worst < tolerance
