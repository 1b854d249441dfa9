"""The stand-in's operators against fla's reference functions and against ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from kernels.forms import SEQUENCE
from models.fla_standin import ops_decay, ops_delta, recurrence

from . import real_fla

Inputs = dict[str, Tensor]
LENGTHS = (1, 63, 65)
SIZES = ((2, 3, 8, 16), (1, 2, 16, 8))  # B, H, K, V


def _defined(operator: str, *inputs: torch.Tensor) -> torch.Tensor:
    return SEQUENCE[operator]["definition"](*inputs)[0]


@dataclass(frozen=True, slots=True)
class Case:
    """One operator: what it needs, how fla's reference and ours compute the same."""

    package: str
    gates: tuple[str, ...]
    run: Callable[..., Any]
    naive: Callable[[Any, Inputs, Tensor], tuple[Tensor, Tensor | None]]
    exact: Callable[[Inputs], Tensor]
    unit_keys: bool = False


def _swapped(x: Tensor) -> Tensor:
    return x.transpose(1, 2)


def _naive_delta(fla: Any, x: Inputs, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
    out, final = fla.delta_rule_recurrence(*(_swapped(x[name]) for name in ("q", "k", "v", "beta")), state)
    return _swapped(out), final


CASES = {
    "delta_rule": Case(
        "delta_rule",
        ("beta",),
        ops_delta.chunk_delta_rule,
        _naive_delta,
        lambda x: _defined("delta_rule", x["q"], x["k"], x["v"], x["beta"]),
        unit_keys=True,
    ),
    "gated_delta_rule": Case(
        "gated_delta_rule",
        ("g", "beta"),
        ops_delta.chunk_gated_delta_rule,
        lambda fla, x, s: fla.naive_recurrent_gated_delta_rule(**x, initial_state=s, output_final_state=True),
        lambda x: _defined("gated_delta_rule", x["q"], x["k"], x["v"], x["g"], x["beta"]),
        unit_keys=True,
    ),
    "kda": Case(
        "kda",
        ("gk", "beta"),
        lambda gk, **x: ops_delta.chunk_kda(g=gk, **x),
        lambda fla, x, s: fla.naive_recurrent_kda(
            x["q"], x["k"], x["v"], x["gk"], x["beta"], initial_state=s, output_final_state=True
        ),
        lambda x: _defined("kda", x["q"], x["k"], x["v"], x["gk"], x["beta"]),
        unit_keys=True,
    ),
    "gla": Case(
        "gla",
        ("gk",),
        lambda gk, **x: ops_decay.chunk_gla(g=gk, **x),
        lambda fla, x, s: fla.naive_recurrent_gla(**x, initial_state=s, output_final_state=True),
        lambda x: _defined("gla", x["q"], x["k"], x["v"], x["gk"]),
    ),
    "simple_gla": Case(
        "simple_gla",
        ("g",),
        ops_decay.chunk_simple_gla,
        lambda fla, x, s: fla.naive_recurrent_simple_gla(**x, initial_state=s, output_final_state=True),
        lambda x: _defined("simple_gla", x["q"], x["k"], x["v"], x["g"]),
    ),
    "linear_attn": Case(
        "linear_attn",
        (),
        lambda **x: ops_decay.chunk_linear_attn(normalize=False, **x),
        lambda fla, x, s: fla.naive_recurrent_linear_attn(**x, initial_state=s, output_final_state=True),
        lambda x: _defined("linear_attn", x["q"], x["k"], x["v"]),
    ),
}


def inputs(case: Case, size: tuple[int, int, int, int], length: int, dtype: torch.dtype = torch.float32) -> Inputs:
    batch, heads, key_dim, value_dim = size
    draw = torch.Generator().manual_seed(length)
    shape = (batch, length, heads)
    x = {
        "q": torch.randn(*shape, key_dim, generator=draw),
        "k": torch.randn(*shape, key_dim, generator=draw),
        "v": torch.randn(*shape, value_dim, generator=draw),
    }
    if case.unit_keys:
        x["k"] = F.normalize(x["k"], dim=-1)
    gates = {
        "g": lambda: F.logsigmoid(torch.randn(*shape, generator=draw)),
        "gk": lambda: F.logsigmoid(torch.randn(*shape, key_dim, generator=draw)),
        "beta": lambda: torch.rand(*shape, generator=draw),
    }
    x |= {name: gates[name]() for name in case.gates}
    return {name: value.to(dtype).requires_grad_() for name, value in x.items()}


def initial_state(size: tuple[int, int, int, int], num_sequences: int | None = None) -> Tensor:
    batch, *rest = size
    return torch.randn(num_sequences or batch, *rest, generator=torch.Generator().manual_seed(9)).requires_grad_()


def gradients(out: Tensor, state: Tensor | None, wanted: list[Tensor]) -> list[Tensor]:
    draw = torch.Generator().manual_seed(4)
    loss = (out.float() * torch.randn(out.shape, generator=draw)).sum()
    if state is not None:
        loss = loss + (state * torch.randn(state.shape, generator=draw)).sum()
    return list(torch.autograd.grad(loss, wanted))


def assert_near(one: Tensor, other: Tensor, tolerance: float = 2e-5) -> None:
    """Largest difference against the root mean square."""
    assert one.shape == other.shape
    difference, rms = (one - other).abs().max(), other.square().mean().sqrt()
    assert difference <= tolerance * (rms + 1e-3), f"{float(difference):.2g} apart, rms {float(rms):.2g}"


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("length", LENGTHS)
def test_outputs_states_and_gradients_are_those_of_flas_reference(
    name: str, size: tuple[int, int, int, int], length: int
):
    case = CASES[name]
    naive = real_fla.reference(case.package)
    x, state = inputs(case, size, length), initial_state(size)
    expected, expected_final = case.naive(naive, x, state)
    out, final = case.run(**x, initial_state=state, output_final_state=True)
    assert expected_final is not None
    assert_near(out, expected)
    assert_near(final, expected_final)
    wanted = [*x.values(), state]
    for found, right in zip(gradients(out, final, wanted), gradients(expected, expected_final, wanted), strict=True):
        assert_near(found, right, 1e-4)


@pytest.mark.parametrize("name", [name for name in CASES if name != "kda"])
@pytest.mark.parametrize("length", LENGTHS)
def test_float64_inputs_are_computed_in_float64(name: str, length: int):
    case = CASES[name]
    x = inputs(case, SIZES[0], length, torch.float64)
    out, final = case.run(**x)
    assert final is None
    assert out.dtype == torch.float64
    assert_near(out, case.exact(x), 1e-10)


@pytest.mark.parametrize("name", CASES)
def test_a_sequence_in_two_calls_is_the_sequence_in_one(name: str):
    case = CASES[name]
    x = inputs(case, SIZES[0], 70, torch.float64)
    whole, last = case.run(**x, output_final_state=True)
    first, middle = case.run(**{key: value[:, :37] for key, value in x.items()}, output_final_state=True)
    second, end = case.run(
        **{key: value[:, 37:] for key, value in x.items()}, initial_state=middle, output_final_state=True
    )
    assert_near(torch.cat([first, second], 1), whole, 1e-10)
    assert_near(end, last, 1e-10)


@pytest.mark.parametrize("name", [name for name in CASES if name != "kda"])
def test_sequences_do_not_run_step_by_step(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(recurrence, "_step_by_step", None)
    case = CASES[name]
    out, _ = case.run(**inputs(case, SIZES[0], 40), initial_state=initial_state(SIZES[0]), output_final_state=True)
    assert out.shape[1] == 40


@pytest.mark.parametrize("name", CASES)
def test_bfloat16_comes_back_as_bfloat16_and_near(name: str):
    case = CASES[name]
    x = inputs(case, SIZES[0], 65)
    low = {key: value.detach().bfloat16().requires_grad_() for key, value in x.items()}
    out, final = case.run(**low, output_final_state=True)
    same = {key: value.detach().float() for key, value in low.items()}
    expected, _ = case.run(**same)
    assert out.dtype == torch.bfloat16
    assert final is not None
    assert final.dtype == torch.float32
    assert (out.float() - expected).norm() < 2**-8 * expected.norm()
    assert all(bool(grad.isfinite().all()) for grad in gradients(out, final, list(low.values())))


@pytest.mark.parametrize("name", CASES)
def test_packed_sequences_do_not_see_each_other(name: str):
    case = CASES[name]
    borders = [0, 5, 5, 38, 70]  # one of them empty
    size = (1, *SIZES[0][1:])
    x, states = inputs(case, size, 70), initial_state(size, 4)
    out, finals = case.run(
        **x, initial_state=states, output_final_state=True, cu_seqlens=torch.tensor(borders, dtype=torch.int32)
    )
    pieces, ends = [], []
    for number, (start, end) in enumerate(pairwise(borders)):
        if start == end:
            ends.append(states[number : number + 1])
            continue
        part = {key: value[:, start:end] for key, value in x.items()}
        piece, final = case.run(**part, initial_state=states[number : number + 1], output_final_state=True)
        pieces.append(piece)
        ends.append(final)
    assert_near(out, torch.cat(pieces, 1))
    assert_near(finals, torch.cat(ends))
    wanted = [*x.values(), states]
    for found, right in zip(
        gradients(out, finals, wanted), gradients(torch.cat(pieces, 1), torch.cat(ends), wanted), strict=True
    ):
        assert_near(found, right, 1e-4)


@pytest.mark.parametrize("name", ["gated_delta_rule", "kda", "gla", "simple_gla"])
def test_states_may_be_stored_values_first(name: str):
    case = CASES[name]
    x, state = inputs(case, SIZES[0], 9), initial_state(SIZES[0])
    out, final = case.run(**x, initial_state=state, output_final_state=True)
    turned, turned_final = case.run(
        **x, initial_state=state.mT.contiguous(), output_final_state=True, state_v_first=True
    )
    assert_near(turned, out)
    assert_near(turned_final.mT, final)


def test_every_form_of_an_operator_computes_the_same():
    case = CASES["simple_gla"]
    x = {key: value.detach() for key, value in inputs(case, SIZES[0], 70).items()}
    q, k, v, g = (x[key] for key in ("q", "k", "v", "g"))
    forms = [
        ops_decay.chunk_simple_gla(q, k, v, g)[0],
        ops_decay.fused_chunk_simple_gla(q, k, v, g)[0],
        ops_decay.fused_recurrent_simple_gla(q, k, v, g)[0],
        ops_decay.parallel_simple_gla(q, k, v, g)[0],
        ops_decay.chunk_gla(q, k, v, g.unsqueeze(-1).expand_as(k))[0],
        ops_decay.fused_recurrent_gla(q, k, v, g.unsqueeze(-1).expand_as(k))[0],
    ]
    for form in forms[1:]:
        assert_near(form, forms[0])
    values_decay = g.unsqueeze(-1).expand_as(v)
    assert_near(ops_decay.fused_recurrent_gla(q, k, v, None, values_decay)[0], forms[0])


@pytest.mark.parametrize("length", LENGTHS)
def test_retention_is_flas_reference_in_every_form(length: int):
    naive = real_fla.reference("retention")
    x = inputs(CASES["linear_attn"], SIZES[0], length)
    q, k, v = x.values()
    expected = _swapped(naive.naive_retention(_swapped(q), _swapped(k), _swapped(v)))
    assert_near(_defined("retention", q, k, v), expected)
    for form in (
        ops_decay.chunk_retention,
        ops_decay.fused_chunk_retention,
        ops_decay.fused_recurrent_retention,
        ops_decay.parallel_retention,
    ):
        assert_near(form(q, k, v)[0], expected)


@pytest.mark.parametrize("length", LENGTHS)
def test_normalised_linear_attention_carries_the_sum_of_its_keys(length: int):
    naive = real_fla.reference("linear_attn")
    x = inputs(CASES["linear_attn"], SIZES[0], length)
    q, k, v = (x[name].detach().exp().requires_grad_() for name in ("q", "k", "v"))
    state = (initial_state(SIZES[0]), torch.rand(2, 1, 3, 8))
    expected, (kv, z) = naive.naive_recurrent_linear_attn(q, k, v, None, state, True, True)
    out, (final, keys) = ops_decay.chunk_linear_attn(q, k, v, initial_state=state, output_final_state=True)
    assert_near(out, expected)
    assert_near(final, kv)
    assert_near(keys, z)
    wanted = [q, k, v, state[0]]
    for found, right in zip(gradients(out, keys, wanted), gradients(expected, z, wanted), strict=True):
        assert_near(found, right, 1e-4)


@pytest.mark.parametrize("length", LENGTHS)
def test_hgrn_is_flas_reference(length: int):
    naive = real_fla.reference("hgrn")
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(2, length, 6, generator=draw).requires_grad_()
    g = F.logsigmoid(torch.randn(2, length, 6, generator=draw)).requires_grad_()
    state = torch.randn(2, 6, generator=draw).requires_grad_()
    expected, end = naive.naive_recurrent_hgrn(x, g, state, True)
    out, final = ops_decay.chunk_hgrn(x, g, state, True)
    assert_near(out, expected)
    assert_near(final, end)
    borders, states = torch.tensor([0, length, length + 1]), torch.cat([state[:1], state[:1]])
    packed, ends = ops_decay.fused_recurrent_hgrn(
        torch.cat([x[:1], x[1:, :1]], 1), torch.cat([g[:1], g[1:, :1]], 1), states, True, borders
    )
    assert_near(packed[:, :length], expected[:1])
    assert_near(ends[:1], end[:1])
    assert_near(packed[0, length], g[1, 0].exp() * state[0] + x[1, 0])
    for found, right in zip(gradients(out, final, [x, g, state]), gradients(expected, end, [x, g, state]), strict=True):
        assert_near(found, right, 1e-4)


def test_running_backwards_is_running_the_reversed_sequence():
    x = {key: value.detach() for key, value in inputs(CASES["gla"], SIZES[0], 21).items()}
    turned = {key: value.flip(1) for key, value in x.items()}
    out, final = ops_decay.fused_recurrent_gla(**x, reverse=True, output_final_state=True)
    expected, end = ops_decay.fused_recurrent_gla(**turned, output_final_state=True)
    assert_near(out, expected.flip(1))
    assert_near(final, end)


def test_keys_may_be_normalised_and_gates_made_inside():
    case = CASES["gated_delta_rule"]
    x = {key: value.detach() for key, value in inputs(case, SIZES[0], 40).items()}
    q, k, v, g, beta = (x[key] for key in ("q", "k", "v", "g", "beta"))
    rate, bias = torch.rand(3), torch.rand(3)
    out, _ = ops_delta.chunk_gated_delta_rule(
        q,
        3 * k,
        v,
        g,
        beta,
        use_qk_l2norm_in_kernel=True,
        use_gate_in_kernel=True,
        A_log=rate,
        dt_bias=bias,
        use_beta_sigmoid_in_kernel=True,
        allow_neg_eigval=True,
    )
    expected = _defined(
        "gated_delta_rule",
        F.normalize(q, dim=-1),
        F.normalize(k, dim=-1),
        v,
        -rate.exp() * F.softplus(g + bias),
        2 * beta.sigmoid(),
    )
    assert_near(out, expected, 1e-4)


def test_values_may_have_more_heads_than_keys():
    case = CASES["gated_delta_rule"]
    x = {key: value.detach() for key, value in inputs(case, (2, 4, 8, 8), 20).items()}
    q, k = x["q"][:, :, :2], x["k"][:, :, :2]
    out, _ = ops_delta.fused_recurrent_gated_delta_rule(q, k, x["v"], x["g"], beta=x["beta"])
    for head in range(4):
        group = head // 2
        alone = _defined(
            "gated_delta_rule",
            q[:, :, group : group + 1],
            k[:, :, group : group + 1],
            *(x[name][:, :, head : head + 1] for name in ("v", "g", "beta")),
        )
        assert_near(out[:, :, head : head + 1], alone)


def test_beta_may_differ_between_value_channels():
    x = {key: value.detach() for key, value in inputs(CASES["delta_rule"], SIZES[0], 12).items()}
    beta = torch.rand(x["v"].shape, generator=torch.Generator().manual_seed(1))
    out, _ = ops_delta.fused_recurrent_delta_rule(x["q"], x["k"], x["v"], beta)
    for channel in range(x["v"].shape[-1]):
        alone = _defined("delta_rule", x["q"], x["k"], x["v"][..., channel : channel + 1], beta[..., channel])
        assert_near(out[..., channel : channel + 1], alone)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda q: ops_decay.fused_chunk_gla(q, q, q), NotImplementedError, "use chunk_gla"),
        (lambda q: ops_delta.fused_chunk_delta_rule(q, q, q), NotImplementedError, "use chunk_delta_rule"),
        (lambda q: ops_decay.chunk_simple_gla(q, q, q, head_first=True), DeprecationWarning, r"\[B, T, H"),
        (lambda q: ops_decay.chunk_simple_gla(q, q, q, q[..., 0], torch.zeros(2)), ValueError, "use one"),
        (lambda q: ops_decay.chunk_simple_gla(q, q, q, q), ValueError, None),
        (lambda q: ops_decay.chunk_gla(q, q, q, q[..., 0]), ValueError, r"g has shape \[2, 6, 2\]"),
        (lambda q: ops_decay.chunk_gla(q, q, q, q, cu_seqlens=torch.tensor([0, 6])), ValueError, "one row"),
        (lambda q: ops_decay.chunk_gla(*[q[:1]] * 4, cu_seqlens=torch.tensor([0, 4])), ValueError, "rise"),
        (lambda q: ops_decay.chunk_gla(q, q, q, q, initial_state=q), ValueError, "initial_state has shape"),
        (lambda q: ops_decay.parallel_retention(q, q, q, output_attentions=True), NotImplementedError, "T x T"),
        (lambda q: ops_delta.chunk_kda(q, q, q, q, q[..., 0], allow_neg_eigval=True), ValueError, "set both"),
    ],
)  # fmt: skip
def test_misuse_is_refused_with_a_remedy(call: Callable[[Tensor], Any], error: type[Exception], message: str | None):
    q = -torch.rand(2, 6, 2, 4)
    if message is None:
        assert call(q)[0].shape == q.shape  # a decay for each channel is taken for what it is
        return
    with pytest.raises(error, match=message):
        call(q)
