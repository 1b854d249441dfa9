"""Norms, convolutions, rotations, feature maps and helpers of the stand-in against plain formulas."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from models.fla_standin import activations, feature_maps, norm_layers, norms, packing, padding
from models.fla_standin.cache import Cache
from models.fla_standin.convolution import ShortConvolution, causal_conv1d, causal_conv1d_update, token_shift
from models.fla_standin.rotary import RotaryEmbedding


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def with_weights(module: torch.nn.Module) -> torch.nn.Module:
    with torch.no_grad():
        for number, parameter in enumerate(module.parameters()):
            parameter.copy_(drawn(*parameter.shape, seed=number))
    return module


def rms(x: Tensor, eps: float = 1e-5) -> Tensor:
    return x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt()


def test_norms_are_torchs():
    x = drawn(2, 5, 12)
    layer = with_weights(norm_layers.LayerNorm(12, bias=True))
    assert torch.allclose(layer(x), F.layer_norm(x, (12,), layer.weight, layer.bias), atol=1e-5)
    root = with_weights(norm_layers.RMSNorm(12))
    assert torch.allclose(root(x), F.rms_norm(x, (12,), root.weight, 1e-5), atol=1e-5)
    group = with_weights(norm_layers.GroupNorm(3, 12, bias=True))
    theirs = F.group_norm(x.flatten(0, 1), 3, group.weight, group.bias, 1e-5).view_as(x)
    assert torch.allclose(group(x), theirs, atol=1e-5)
    grouped = with_weights(norm_layers.GroupNorm(3, 12, is_rms_norm=True))
    assert torch.allclose(grouped(x), rms(x.view(2, 5, 3, 4)).flatten(-2) * grouped.weight, atol=1e-5)
    assert norm_layers.RMSNorm(12, elementwise_affine=False).state_dict() == {}


@pytest.mark.parametrize("in_fp32", [False, True])
def test_norms_add_a_residual_first_and_hand_it_on(in_fp32: bool):
    x, residual = drawn(2, 5, 12).bfloat16(), drawn(2, 5, 12, seed=1)
    norm = with_weights(norm_layers.RMSNorm(12))
    out, kept = norm(x, residual, prenorm=True, residual_in_fp32=in_fp32)
    assert out.dtype == torch.bfloat16
    assert torch.allclose(kept, x.float() + residual)
    assert torch.allclose(out.float(), rms(x.float() + residual) * norm.weight, atol=0.05)
    assert norm(x, prenorm=True, residual_in_fp32=in_fp32)[1].dtype == (torch.float32 if in_fp32 else torch.bfloat16)


@pytest.mark.parametrize(("name", "gate"), [("swish", F.silu), ("silu", F.silu), ("sigmoid", torch.sigmoid)])
def test_gated_norms_multiply_by_the_gate(name: str, gate):
    x, g = drawn(2, 5, 12), drawn(2, 5, 12, seed=1)
    root = with_weights(norm_layers.FusedRMSNormGated(12, activation=name))
    assert torch.allclose(root(x, g), rms(x) * root.weight * gate(g), atol=1e-5)
    layer = with_weights(norm_layers.FusedLayerNormGated(12, bias=True, activation=name))
    assert torch.allclose(layer(x, g), F.layer_norm(x, (12,), layer.weight, layer.bias) * gate(g), atol=1e-5)
    if name == "swish":
        old = with_weights(norm_layers.FusedRMSNormSwishGate(12))
        assert torch.equal(old(x, g), root(x, g))
        weight = drawn(7, 12, seed=5)
        linear = with_weights(norm_layers.FusedRMSNormSwishGateLinear(12))
        assert torch.allclose(linear(x, g, weight, None), root(x, g) @ weight.T, atol=1e-5)


def test_unknown_gate_is_refused():
    with pytest.raises(ValueError, match="tanh"):
        norm_layers.FusedRMSNormGated(4, activation="tanh")


@pytest.mark.parametrize("before", [False, True])
def test_mamba_norms_gate_before_or_after(before: bool):
    x, z = drawn(2, 5, 12), drawn(2, 5, 12, seed=1)
    norm = with_weights(norm_layers.RMSNormGated(12, group_size=4, norm_before_gate=before))
    value = x if before else x * F.silu(z)
    expected = rms(value.view(2, 5, 3, 4)).flatten(-2) * norm.weight
    assert torch.allclose(norm(x, z), expected * F.silu(z) if before else expected, atol=1e-5)


def test_a_linear_map_may_follow_a_norm():
    x, weight, bias = drawn(2, 5, 12), drawn(7, 12, seed=2), drawn(7, seed=3)
    scale = drawn(12, seed=4)
    assert torch.allclose(
        norms.rms_norm_linear(x, scale, None, weight, bias), F.linear(rms(x) * scale, weight, bias), atol=1e-5
    )


def test_l2norm_is_unit_length_and_safe_at_zero():
    x = drawn(2, 5, 12).requires_grad_()
    assert torch.allclose(norms.l2norm(x), F.normalize(x, dim=-1), atol=1e-5)
    zero = torch.zeros(3, requires_grad=True)
    norms.l2norm(zero).sum().backward()
    assert bool(zero.grad.isfinite().all())
    assert norms.l2norm(x.bfloat16()).dtype == torch.bfloat16
    assert norms.l2norm(x.bfloat16(), output_dtype=torch.float32).dtype == torch.float32


def filtered(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A causal filter by its definition."""
    taps = weight.shape[1]
    past = F.pad(x, (0, 0, taps - 1, 0))
    out = sum(past[:, tap : tap + x.shape[1]] * weight[:, tap] for tap in range(taps))
    return out if bias is None else out + bias


@pytest.mark.parametrize("activation", [None, "silu"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("length", [1, 2, 17])
def test_short_convolution_is_a_causal_filter_of_each_channel(activation: str | None, bias: bool, length: int):
    conv = with_weights(ShortConvolution(6, 4, bias=bias, activation=activation))
    assert conv.weight.shape == (6, 1, 4)
    x = drawn(2, length, 6)
    y, cache = conv(x)
    expected = filtered(x, conv.weight[:, 0], conv.bias)
    assert cache is None
    assert torch.allclose(y, F.silu(expected) if activation else expected, atol=1e-5)
    masked, _ = conv(x, mask=torch.arange(length).ge(1).expand(2, -1))
    assert torch.allclose(masked, conv(x * torch.arange(length).ge(1)[:, None])[0])


@torch.no_grad()
def test_short_convolution_goes_on_from_its_cache_and_rewrites_it_in_place():
    conv = with_weights(ShortConvolution(6, 4, bias=True))
    x = drawn(2, 9, 6)
    whole, last = conv(x, output_final_state=True)
    assert torch.equal(last, x[:, -4:].mT)
    first, cache = conv(x[:, :2], output_final_state=True)
    assert cache.shape == (2, 6, 4)
    assert torch.equal(cache[..., :2], torch.zeros(2, 6, 2))
    pieces = [first]
    for t in range(2, 8):
        y, after = conv(x[:, t : t + 1], cache=cache, output_final_state=True)
        assert after is cache
        pieces.append(y)
    y, cache = conv.step(x[:, 8:], None, cache, True)
    assert torch.allclose(torch.cat([*pieces, y], 1), whole, atol=1e-6)
    assert torch.equal(cache, last)
    once, _ = causal_conv1d_update(x[:, 0], torch.zeros(2, 6, 4), weight=conv.weight[:, 0], bias=conv.bias)
    assert torch.allclose(F.silu(once), whole[:, 0], atol=1e-6)


def test_gradients_flow_through_a_convolutions_cache():
    conv = ShortConvolution(6, 4)
    x = drawn(2, 9, 6).requires_grad_()
    _, cache = conv(x[:, :5], output_final_state=True)
    y, after = conv(x[:, 5:6], cache=cache, output_final_state=True)
    assert after is not cache
    y.sum().backward()
    assert bool(x.grad[:, 2:6].any(-1).all())


def test_packed_convolutions_do_not_reach_over_borders():
    conv = with_weights(ShortConvolution(6, 4))
    x, history = drawn(1, 12, 6), drawn(3, 6, 4, seed=1)
    residual = drawn(1, 12, 6, seed=2)
    borders = torch.tensor([0, 2, 3, 12])
    y, cache = conv(x, residual=residual, cache=history.clone(), output_final_state=True, cu_seqlens=borders)
    for number, (start, end) in enumerate(pairwise(borders)):
        part = slice(int(start), int(end))
        alone, last = conv(
            x[:, part], residual[:, part], cache=history[number : number + 1].clone(), output_final_state=True
        )
        assert torch.allclose(y[:, part], alone, atol=1e-6)
        assert torch.allclose(cache[number : number + 1], last)


def test_convolution_keeps_the_type_and_refuses_what_it_does_not_know():
    x, weight = drawn(1, 5, 3).bfloat16(), drawn(3, 4)
    y, cache = causal_conv1d(x, weight, output_final_state=True)
    assert y.dtype == cache.dtype == torch.bfloat16
    assert causal_conv1d(x.double(), weight)[0].dtype == torch.float64
    with pytest.raises(ValueError, match="relu"):
        causal_conv1d(x, weight, activation="relu")
    with pytest.raises(ValueError, match=r"the cache has shape \[2, 3, 4\]"):
        causal_conv1d(x, weight, initial_state=torch.zeros(2, 3, 4))


def test_token_shift_is_the_step_before_less_this_one():
    x = drawn(1, 6, 3)
    expected = F.pad(x, (0, 0, 1, 0))[:, :-1] - x
    assert torch.equal(token_shift(x), expected)
    packed, last = token_shift(x, torch.tensor([0, 2, 6]), output_cache=True)
    assert torch.equal(packed, torch.cat([token_shift(x[:, :2]), token_shift(x[:, 2:])], 1))
    assert torch.equal(last, x[0, [1, 5]])
    assert torch.equal(token_shift(x[:, 4:], cache=x[:, 3]), expected[:, 4:])


@pytest.mark.parametrize("interleaved", [False, True])
def test_rotation_turns_pairs_by_position_as_complex_numbers(interleaved: bool):
    q, k = drawn(2, 7, 3, 8), drawn(2, 7, 3, 8, seed=1)
    out, _ = RotaryEmbedding(8, interleaved=interleaved)(q, k)

    def as_complex(x: Tensor) -> Tensor:
        pairs = (x[..., ::2], x[..., 1::2]) if interleaved else x.chunk(2, -1)
        return torch.complex(*pairs)

    angles = torch.arange(7)[:, None] * 10000 ** (-torch.arange(0, 8, 2) / 8)
    expected = as_complex(q) * torch.polar(torch.ones_like(angles), angles)[:, None]
    assert torch.allclose(as_complex(out), expected, atol=1e-5)


@pytest.mark.parametrize("scale_base", [None, 512.0])
def test_scores_of_rotated_keys_depend_on_distance_alone(scale_base: float | None):
    rotary = RotaryEmbedding(8, scale_base=scale_base)
    q, k = drawn(1, 1, 1, 8).expand(1, 9, 1, 8).double(), drawn(1, 1, 1, 8, seed=1).expand(1, 9, 1, 8).double()
    turned_q, turned_k = rotary(q, k)
    scores = torch.einsum("bthk,bshk->ts", turned_q, turned_k)
    assert torch.allclose(scores.diagonal(-3), scores[3, 0].expand(6), atol=1e-12)
    later_q, later_k = rotary(q, k, seqlen_offset=5)
    assert torch.allclose(torch.einsum("bthk,bshk->ts", later_q, later_k), scores, atol=1e-12)


def test_rotation_starts_anew_in_each_packed_sequence():
    rotary = RotaryEmbedding(4)
    q = drawn(1, 7, 2, 8)  # half of the channels turn
    borders = torch.tensor([0, 3, 7])
    packed, _ = rotary(q, q, cu_seqlens=borders)
    assert torch.allclose(packed, torch.cat([rotary(q[:, :3], q[:, :3])[0], rotary(q[:, 3:], q[:, 3:])[0]], 1))
    shifted, _ = rotary(q, q, seqlen_offset=torch.tensor([0, 2]), cu_seqlens=borders, max_seqlen=9)
    assert torch.allclose(shifted[:, 3:], rotary(q[:, 3:], q[:, 3:], seqlen_offset=2)[0])
    assert torch.equal(packed[..., 4:], q[..., 4:])


def test_activations_are_torchs():
    x, y = drawn(4, 6), drawn(4, 6, seed=1)
    assert torch.allclose(activations.swiglu(x, y), F.silu(x) * y)
    assert torch.allclose(activations.sigmoidglu(x, y), x.sigmoid() * y)
    assert torch.allclose(activations.logsigmoid(x, 16.0), F.logsigmoid(x) / 16)
    assert torch.allclose(activations.ACT2FN["sqrelu"](x), F.relu(x) ** 2)
    assert torch.allclose(activations.ACT2FN["gelu"](x), F.gelu(x, approximate="tanh"))
    weight = drawn(3, 6, seed=2)
    assert torch.allclose(activations.swiglu_linear(x, y, weight, None), (F.silu(x) * y) @ weight.T, atol=1e-5)
    at_zero = torch.tensor([-1.0, 0.0, 4.0], requires_grad=True)
    out = activations.powglu(at_zero, torch.ones(3))
    assert out.tolist() == pytest.approx([-1 / (1 + math.e), 0.0, 4 / (1 + math.exp(-4))], abs=1e-6)
    out.sum().backward()
    assert bool(at_zero.grad.isfinite().all())
    mlp = activations.GatedMLP(8)
    assert mlp.gate_proj.weight.shape == (256, 8)
    assert mlp(drawn(2, 3, 8)).shape == (2, 3, 8)


def test_feature_maps_are_their_formulas():
    x, y = drawn(5, 4), drawn(5, 4, seed=1)
    assert torch.allclose(feature_maps.HedgehogFeatureMap(4)(x), torch.cat([2 * x, -2 * x], -1).softmax(-1))
    taylor = feature_maps.TaylorFeatureMap(4)
    score = (x * y).sum(-1) / 2
    assert torch.allclose((taylor(x) * taylor(y)).sum(-1), 1 + score + score**2 / 2, atol=1e-5)
    rebased = feature_maps.RebasedFeatureMap(4)
    normed = [F.layer_norm(value, (4,)) for value in (x, y)]
    assert torch.allclose((rebased(x) * rebased(y)).sum(-1), (normed[0] * normed[1]).sum(-1) ** 2 / 4, atol=1e-4)
    positive = torch.cat([F.relu(x), -F.relu(x)], -1)
    projected = feature_maps.DPFPFeatureMap(4, nu=2)(x)
    assert torch.equal(projected[..., 8:], positive * positive.roll(2, -1))
    assert feature_maps.T2RFeatureMap(4, 6)(x).shape == (5, 6)


def test_padding_is_dropped_and_put_back():
    mask = torch.tensor([[0, 1, 1], [1, 1, 1], [0, 0, 0]])
    x = drawn(3, 3, 2).requires_grad_()
    indices, borders, longest = padding.get_unpad_data(mask)
    assert borders.tolist() == [0, 2, 5, 5]
    assert (borders.dtype, longest) == (torch.int32, 3)
    kept = padding.index_first_axis(x.flatten(0, 1), indices)
    back = padding.pad_input(kept, indices, 3, 3)
    assert torch.equal(back, x * mask.unsqueeze(-1))
    back.sum().backward()
    assert torch.equal(x.grad, mask.unsqueeze(-1).expand(3, 3, 2).float())
    query, (key,), places, (q_borders, k_borders), lengths = padding.unpad_input(x[:, :1], (x,), mask, 1, keepdim=True)
    assert query.shape == (1, 3, 2)
    assert torch.equal(key[0], kept)
    assert (places.tolist(), q_borders.tolist(), lengths) == ([0, 1, 2], [0, 1, 2, 3], (1, 3))
    assert torch.equal(k_borders, borders)
    with pytest.raises(NotImplementedError, match="q_len is 2"):
        padding.unpad_input(x[:, :2], (x,), mask, 2)


def test_positions_chunks_and_sequences_of_packed_rows():
    borders = torch.tensor([0, 3, 3, 8], dtype=torch.int32)
    assert packing.prepare_position_ids(borders).tolist() == [0, 1, 2, 0, 1, 2, 3, 4]
    assert packing.prepare_sequence_ids(borders).tolist() == [0, 0, 0, 2, 2, 2, 2, 2]
    assert packing.prepare_chunk_indices(borders, 2).tolist() == [[0, 0], [0, 1], [2, 0], [2, 1], [2, 2]]
    assert packing.prepare_chunk_offsets(borders, 2).tolist() == [0, 2, 2, 5]
    assert packing.get_max_num_splits(borders, 2) == 3


def test_a_cache_keeps_each_layers_states_and_counts_its_tokens():
    cache = Cache()
    layer = type("Layer", (), {"layer_idx": 2})()
    assert padding.get_layer_cache(layer, cache) is None
    padding.update_layer_cache(layer, cache, recurrent_state=torch.ones(2), conv_state=(None, torch.zeros(1)), offset=7)
    assert len(cache) == 3
    assert cache[0] is None
    assert (cache.get_seq_length(2), cache.get_seq_length(0), cache.get_seq_length(9)) == (7, 0, 0)
    padding.update_layer_cache(layer, cache, recurrent_state=torch.zeros(2), offset=1)
    assert padding.get_layer_cache(layer, cache)["recurrent_state"].tolist() == [0, 0]
    assert cache[2]["conv_state"][1].tolist() == [0]
    copy = cache.copied()
    copy[2]["recurrent_state"].fill_(5)
    assert cache[2]["recurrent_state"].tolist() == [0, 0]
    assert (copy.get_seq_length(2), cache.get_seq_length(2)) == (8, 8)
    with pytest.raises(KeyError, match="3 layers"):
        cache[3]
    with pytest.raises(ValueError, match="layer_idx"):
        padding.get_layer_cache(object(), cache)
    assert padding.get_layer_cache(object(), None) is None


def test_a_cache_keeps_the_last_window_of_attention_states():
    cache = Cache()
    for start in (0, 3, 5):
        state = (torch.arange(start, start + 3).view(1, 3, 1),)
        cache.update(attn_state=state, layer_idx=0, cache_kwargs={"window_size": 4})
    assert cache[0]["attn_state"][0].flatten().tolist() == [5, 5, 6, 7]
    assert cache.get_seq_length(0) == 9
