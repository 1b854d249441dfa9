"""The definitions against the papers' other forms: sums over the past, written out."""

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from kernels.forms import CONVOLUTION, GATED_NORM, SEQUENCE
from kernels.linear_attn import normalised, with_normaliser
from kernels.path_fusion import weighted_sum
from kernels.testing import Shape, sequence_inputs

SHAPE = Shape(batch=2, time=9, heads=3, key_dim=4, value_dim=5)


def _inputs(operator, generator, **options):
    inputs = sequence_inputs(operator, SHAPE, generator=generator, dtype=torch.float64, **options)
    return {name: x.detach() for name, x in inputs.items()}


def _defined(operator, *inputs, **options):
    return SEQUENCE[operator]["definition"](*inputs, **options)[0]


def _attend(q, k, v, weights_BHTT):
    scores = torch.einsum("bthk,bshk->bhts", q, k).tril() * weights_BHTT
    return torch.einsum("bhts,bshv->bthv", scores, v)


def test_linear_attention_is_a_sum_over_the_past(generator):
    x = _inputs("linear_attn", generator)
    expected = _attend(x["q"] * 4**-0.5, x["k"], x["v"], 1.0)
    torch.testing.assert_close(_defined("linear_attn", **x), expected)


def test_scale_multiplies_queries(generator):
    x = _inputs("linear_attn", generator)
    torch.testing.assert_close(_defined("linear_attn", **x, scale=0.25), 0.5 * _defined("linear_attn", **x))


def test_normalised_linear_attention_is_a_weighted_mean(generator):
    x = _inputs("linear_attn", generator)
    q, k = x["q"].exp(), x["k"].exp()
    constant = torch.full_like(x["v"], 3.0)
    torch.testing.assert_close(
        normalised(_defined("linear_attn", q, k, with_normaliser(constant))), constant, rtol=1e-5, atol=0
    )


def test_retention_decays_each_head_by_its_own_gamma(generator):
    x = _inputs("retention", generator)
    age = torch.arange(9).unsqueeze(1) - torch.arange(9)
    gamma = torch.tensor([1 - 2.0**-5, 1 - 2.0**-6, 1 - 2.0**-7], dtype=torch.float64)
    weights = gamma[:, None, None] ** age.clamp(min=0)
    torch.testing.assert_close(_defined("retention", **x), _attend(x["q"] * 0.5, x["k"], x["v"], weights))


def test_scalar_gate_multiplies_the_decays_in_between(generator):
    x = _inputs("simple_gla", generator)
    g = x.pop("g")
    total = g.cumsum(1).transpose(1, 2)
    weights = (total.unsqueeze(-1) - total.unsqueeze(-2)).exp()
    torch.testing.assert_close(_defined("simple_gla", **x, g=g), _attend(x["q"] * 0.5, x["k"], x["v"], weights))


def test_channel_gate_decays_each_key_channel_by_itself(generator):
    x = _inputs("gla", generator)
    total = x["g"].cumsum(1)
    decay_BTSHK = (total.unsqueeze(2) - total.unsqueeze(1)).exp()
    scores = torch.einsum("bthk,bshk,btshk->bhts", x["q"] * 0.5, x["k"], decay_BTSHK).tril()
    torch.testing.assert_close(_defined("gla", **x), torch.einsum("bhts,bshv->bthv", scores, x["v"]))


def test_delta_rule_with_full_strength_recalls_the_last_value_of_a_key(generator):
    key = F.normalize(torch.randn(4, generator=generator, dtype=torch.float64), dim=0)
    k = key.expand(2, 9, 3, 4)
    v = torch.randn(2, 9, 3, 5, generator=generator, dtype=torch.float64)
    beta = torch.ones(2, 9, 3, dtype=torch.float64)
    torch.testing.assert_close(_defined("delta_rule", k, k, v, beta, scale=1.0), v)


def test_gated_delta_rule_follows_the_papers_matrix_form(generator):
    x = _inputs("gated_delta_rule", generator)
    q, k, v, g, beta = (x[name][0, :, 0] for name in ("q", "k", "v", "g", "beta"))
    state_VK = torch.zeros(5, 4, dtype=torch.float64)
    expected = []
    for t in range(9):
        erase = torch.eye(4, dtype=torch.float64) - beta[t] * torch.outer(k[t], k[t])
        state_VK = math.exp(g[t]) * state_VK @ erase + beta[t] * torch.outer(v[t], k[t])
        expected.append(state_VK @ q[t] * 0.5)
    torch.testing.assert_close(_defined("gated_delta_rule", **x)[0, :, 0], torch.stack(expected))


def test_last_tap_multiplies_the_current_step():
    x = torch.tensor([[[1.0], [10.0], [100.0]]])
    out = CONVOLUTION["definition"](x, torch.tensor([[2.0, 3.0]]))[0]
    assert out.flatten().tolist() == [3.0, 32.0, 320.0]


def test_fusion_weighs_paths_per_step_and_head(generator):
    paths = torch.randn(3, 2, 4, 2, 5, generator=generator)
    weights = torch.rand(2, 4, 2, 3, generator=generator)
    expected = torch.einsum("pbthv,bthp->bthv", paths, weights)
    torch.testing.assert_close(weighted_sum(list(paths), weights), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_output_has_the_dtype_of_the_values(dtype, generator):
    inputs = sequence_inputs("gated_delta_rule", SHAPE, generator=generator, dtype=dtype)
    assert _defined("gated_delta_rule", **inputs).dtype == dtype


def test_kimi_delta_attention_follows_the_papers_matrix_form(generator):
    x = _inputs("kda", generator)
    q, k, v, g, beta = (x[name][0, :, 0] for name in ("q", "k", "v", "g", "beta"))
    state_KV = torch.zeros(4, 5, dtype=torch.float64)
    expected = []
    for t in range(9):
        erase = torch.eye(4, dtype=torch.float64) - beta[t] * torch.outer(k[t], k[t])
        state_KV = erase @ torch.diag(g[t].exp()) @ state_KV + beta[t] * torch.outer(k[t], v[t])
        expected.append(q[t] @ state_KV * 0.5)
    torch.testing.assert_close(_defined("kda", **x)[0, :, 0], torch.stack(expected))


def test_generalised_delta_rule_follows_the_papers_matrix_form(generator):
    """RWKV-7 writes the state as V x K: S_t = S_(t-1) (diag(w) + a^T b) + v^T k with row vectors."""
    x = _inputs("dplr_delta_rule", generator)
    q, k, v, a, b, g = (x[name][0, :, 0] for name in ("q", "k", "v", "a", "b", "g"))
    state_VK = torch.zeros(5, 4, dtype=torch.float64)
    expected = []
    for t in range(9):
        state_VK = state_VK @ (torch.diag(g[t].exp()) + torch.outer(a[t], b[t])) + torch.outer(v[t], k[t])
        expected.append(state_VK @ q[t] * 0.5)
    torch.testing.assert_close(_defined("dplr_delta_rule", **x)[0, :, 0], torch.stack(expected))


def test_delta_rules_are_special_cases_of_the_generalised_one(generator):
    x = _inputs("kda", generator)
    q, k, v, g, beta = x.values()
    written = beta.unsqueeze(-1) * k
    general = _defined("dplr_delta_rule", q, written, v, g.exp() * k, -written, g)
    torch.testing.assert_close(_defined("kda", **x), general)
    scalar = g[..., 0]
    torch.testing.assert_close(
        _defined("gated_delta_rule", q, k, v, scalar, beta),
        _defined("kda", q, k, v, scalar.unsqueeze(-1).expand_as(g), beta),
    )
    torch.testing.assert_close(
        _defined("delta_rule", q, k, v, beta), _defined("kda", q, k, v, torch.zeros_like(g), beta)
    )


@pytest.mark.parametrize("activation", ["swish", "silu", "sigmoid"])
def test_gated_norm_has_unit_rms_under_its_gate(activation, generator):
    x, gate = torch.randn(2, 7, 3, 16, generator=generator), torch.randn(2, 7, 3, 16, generator=generator)
    opened = torch.sigmoid(gate) if activation == "sigmoid" else F.silu(gate)
    for form in ("definition", "torch"):
        out = GATED_NORM[form](5.0 * x, gate, torch.full((16,), 2.0), eps=0.0, activation=activation)
        rms = (out / opened).square().mean(-1).sqrt()
        torch.testing.assert_close(rms, torch.full_like(rms, 2.0))
