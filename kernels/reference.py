"""The definitions: every operator as the recurrence of its paper, one time step after another.

Slow on purpose and free of tricks; `kernels.testing` compares every faster form with these, outputs and gradients.
Computed in float32 (float64 for float64 inputs), returned in the dtype of v. `scale` multiplies q and is K**-0.5
where it is None. Inputs are not checked here: `kernels.dispatch` does that.

Shapes: B batch, T time, H heads, K key dim per head, V value dim per head, D width, W taps, P paths. The state S_BHKV
maps keys to values: its columns are what the papers write as rows of S_t in R^(V x K), so that o_t = S^T q_t.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

NORMALISER_FLOOR = 1e-6


def linear_attn(q: Tensor, k: Tensor, v: Tensor, *, normalize: bool = False, scale: float | None = None) -> Tensor:
    """Linear attention, o_BTHV: S_t = S_(t-1) + k_t v_t^T, o_t = S_t^T q_t.

    With `normalize`, z_t = z_(t-1) + k_t and o_t = S_t^T q_t / (z_t . q_t + 1e-6); q and k should then be positive,
    as after the feature map elu(x) + 1.

    Source: Katharopoulos et al. 2020, "Transformers are RNNs" (arXiv 2006.16236), section 3.4, the recurrence of
    s_i and z_i.
    """
    q, k, v, dtype = _prepared(q, k, v, scale)
    state_BHKV, keys_BHK = _empty_state(k, v), torch.zeros_like(k[:, 0])
    steps: list[Tensor] = []
    for t in range(q.shape[1]):
        state_BHKV = state_BHKV + _outer(k[:, t], v[:, t])
        keys_BHK = keys_BHK + k[:, t]
        out_BHV = _read(state_BHKV, q[:, t])
        if normalize:
            out_BHV = out_BHV / ((q[:, t] * keys_BHK).sum(-1, keepdim=True) + NORMALISER_FLOOR)
        steps.append(out_BHV)
    return torch.stack(steps, 1).to(dtype)


def retention(q: Tensor, k: Tensor, v: Tensor, *, scale: float | None = None) -> Tensor:
    """Retention, o_BTHV: S_t = gamma_h S_(t-1) + k_t v_t^T, o_t = S_t^T q_t, with gamma_h = 1 - 2^(-5-h).

    The rotation of q and k (xPos) that RetNet adds is left to the caller.

    Source: Sun et al. 2023, "Retentive Network" (arXiv 2307.08621), section 2.1 (recurrent representation) and 2.2
    (gamma per head).
    """
    heads = torch.arange(q.shape[2], dtype=torch.float64, device=q.device)
    g_H = torch.log1p(-torch.exp2(-5 - heads)).to(_state_dtype(v))
    return simple_gla(q, k, v, g_H.expand(q.shape[:3]), scale=scale)


def simple_gla(q: Tensor, k: Tensor, v: Tensor, g: Tensor, *, scale: float | None = None) -> Tensor:
    """Linear attention with a scalar decay, o_BTHV: S_t = exp(g_t) S_(t-1) + k_t v_t^T, o_t = S_t^T q_t.

    g_BTH is the log decay of each head and step, at most 0.

    Source: Dao and Gu 2024, "Transformers are SSMs" (arXiv 2405.21060): h_t = a_t h_(t-1) + B_t x_t, y_t = C_t^T h_t
    with a scalar a_t.
    """
    return gla(q, k, v, g.unsqueeze(-1).expand(*g.shape, k.shape[-1]), scale=scale)


def gla(q: Tensor, k: Tensor, v: Tensor, g: Tensor, *, scale: float | None = None) -> Tensor:
    """Gated linear attention, o_BTHV: S_t = diag(exp(g_t)) S_(t-1) + k_t v_t^T, o_t = S_t^T q_t.

    g_BTHK is the log decay of each key channel and step, at most 0.

    Source: Yang et al. 2023, "Gated Linear Attention Transformers with Hardware-Efficient Training"
    (arXiv 2312.06635), section 4.1: S_t = (alpha_t^T 1) * S_(t-1) + k_t^T v_t.
    """
    q, k, v, dtype = _prepared(q, k, v, scale)
    decay_BTHK = g.to(v.dtype).exp()
    state_BHKV = _empty_state(k, v)
    steps: list[Tensor] = []
    for t in range(q.shape[1]):
        state_BHKV = decay_BTHK[:, t].unsqueeze(-1) * state_BHKV + _outer(k[:, t], v[:, t])
        steps.append(_read(state_BHKV, q[:, t]))
    return torch.stack(steps, 1).to(dtype)


def delta_rule(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, *, scale: float | None = None) -> Tensor:
    """The delta rule, o_BTHV: S_t = S_(t-1) (I - beta_t k_t k_t^T) + beta_t v_t k_t^T, o_t = S_t q_t.

    beta_BTH is the writing strength, in [0, 1] (up to 2 allows negative eigenvalues); keys should have norm 1, or the
    state can grow without bound.

    Source: Schlag et al. 2021, "Linear Transformers Are Secretly Fast Weight Programmers" (arXiv 2102.11174),
    section 4.2; Yang et al. 2024, "Parallelizing Linear Transformers with the Delta Rule over Sequence Length"
    (arXiv 2406.06484), section 2.2.
    """
    return gated_delta_rule(q, k, v, torch.zeros_like(beta), beta, scale=scale)


def gated_delta_rule(q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, *, scale: float | None = None) -> Tensor:
    """The gated delta rule, o_BTHV: S_t = exp(g_t) S_(t-1) (I - beta_t k_t k_t^T) + beta_t v_t k_t^T, o_t = S_t q_t.

    g_BTH is the log decay of each head and step, at most 0; beta_BTH and keys as in `delta_rule`.

    Source: Yang et al. 2024, "Gated Delta Networks: Improving Mamba2 with Delta Rule" (arXiv 2412.06464), section 3.1.
    """
    q, k, v, dtype = _prepared(q, k, v, scale)
    decay_BTH, beta_BTH = g.to(v.dtype).exp(), beta.to(v.dtype)
    state_BHKV = _empty_state(k, v)
    steps: list[Tensor] = []
    for t in range(q.shape[1]):
        state_BHKV = decay_BTH[:, t, :, None, None] * state_BHKV
        error_BHV = v[:, t] - _read(state_BHKV, k[:, t])
        state_BHKV = state_BHKV + _outer(k[:, t], beta_BTH[:, t].unsqueeze(-1) * error_BHV)
        steps.append(_read(state_BHKV, q[:, t]))
    return torch.stack(steps, 1).to(dtype)


def causal_conv(x: Tensor, weight: Tensor) -> Tensor:
    """Depthwise causal convolution, y_BTD: y_t = sum_w weight_DW[:, W-1-w] * x_(t-w), with x = 0 before the start.

    weight[:, -1] multiplies the current step. No bias and no activation.

    Source: the short convolution of Fu et al. 2022, "Hungry Hungry Hippos" (arXiv 2212.14052), as a plain FIR filter.
    """
    state_dtype, taps = _state_dtype(x), weight.shape[1]
    history = [torch.zeros_like(x[:, 0], dtype=state_dtype)] * (taps - 1)
    steps: list[Tensor] = []
    for t in range(x.shape[1]):
        history = [*history, x[:, t].to(state_dtype)]
        steps.append((torch.stack(history[-taps:], -1) * weight.to(state_dtype)).sum(-1))
    return torch.stack(steps, 1).to(x.dtype)


def fuse_paths(paths: Sequence[Tensor], weights: Tensor) -> Tensor:
    """Weighted sum of paths, o_BTHV = sum_p weights_BTHP[..., p] * paths[p]; each path is a tensor [B, T, H, V].

    Source: none needed; the published mixers that fuse paths differ in how they make the weights.
    """
    stacked_BTHVP = torch.stack(list(paths), -1)
    dtype = _state_dtype(stacked_BTHVP)
    return (stacked_BTHVP.to(dtype) * weights.to(dtype).unsqueeze(-2)).sum(-1).to(stacked_BTHVP.dtype)


def _state_dtype(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _prepared(q: Tensor, k: Tensor, v: Tensor, scale: float | None) -> tuple[Tensor, Tensor, Tensor, torch.dtype]:
    dtype = _state_dtype(v)
    factor = q.shape[-1] ** -0.5 if scale is None else scale
    return q.to(dtype) * factor, k.to(dtype), v.to(dtype), v.dtype


def _empty_state(k_BTHK: Tensor, v_BTHV: Tensor) -> Tensor:
    batch, _, heads, key_dim = k_BTHK.shape
    return torch.zeros(batch, heads, key_dim, v_BTHV.shape[-1], dtype=v_BTHV.dtype, device=v_BTHV.device)


def _outer(k_BHK: Tensor, v_BHV: Tensor) -> Tensor:
    return k_BHK.unsqueeze(-1) * v_BHV.unsqueeze(-2)


def _read(state_BHKV: Tensor, q_BHK: Tensor) -> Tensor:
    return (state_BHKV * q_BHK.unsqueeze(-1)).sum(-2)
