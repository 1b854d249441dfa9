"""Honest mixers of many kinds, each with something that a careless check would take for a leak.

As in `leaks`: in the snippets `x` is the input [B, T, D], `v` a projection of it, B, T, D are its sizes.
"""

from __future__ import annotations

import numpy as np

from agents.grammar.mutate import random_genome
from agents.grammar.token_mixer.render import render
from agents.grammar.token_mixer.space import TOKEN_MIXERS
from models.slots import SLOTS, published_source

_TEMPLATE = """
import math
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn


class TokenMixer(nn.Module):
    def __init__(self, hidden_size, num_heads, layer_idx=0, **kwargs):
        super().__init__()
        self.num_heads, self.layer_idx = num_heads, layer_idx
        self.query = nn.Linear(hidden_size, hidden_size, bias=False)
        self.value = nn.Linear(hidden_size, hidden_size, bias=False)
        self.out = nn.Linear(hidden_size, hidden_size, bias=False)
        {init}

    def forward(self, x):
        B, T, D = x.shape
        v = self.value(x)
        {body}
        return self.out(torch.sigmoid(self.query(x)) * v)
"""


def _honest(*lines: str, init: str = "pass") -> str:
    return _TEMPLATE.format(body="\n        ".join(lines), init=init.replace("; ", "\n        "))


_MEAN = "torch.arange(1, T + 1, dtype=x.dtype, device=x.device).view(1, -1, 1)"

SNIPPETS: dict[str, str] = {
    "cumulative mean": _honest(f"v = v.cumsum(1) / {_MEAN}"),
    "padded FFT in float32": _honest(
        "taps = torch.exp(-torch.arange(T, dtype=torch.float32) / 9).view(1, T, 1)",
        "y = torch.fft.irfft(torch.fft.rfft(v.float(), 2 * T, 1) * torch.fft.rfft(taps, 2 * T, 1), 2 * T, 1)",
        "v = y[:, :T].to(x.dtype)",
    ),
    "padded FFT in the type of x": _honest(
        "w = x.dtype if x.dtype in (torch.float32, torch.float64) else torch.float32",
        "n = 1 << (2 * T - 1).bit_length()",
        "taps = torch.exp(-torch.arange(T, dtype=w) / 40).view(1, T, 1)",
        "y = torch.fft.irfft(torch.fft.rfft(v.to(w), n, 1) * torch.fft.rfft(taps, n, 1), n, 1)",
        "v = y[:, :T].to(x.dtype)",
    ),
    "implicit filter and gates (Hyena)": _honest(
        "t = torch.arange(T, dtype=torch.float32).view(T, 1)",
        "z = torch.cat([torch.sin(t / 3**k) for k in range(4)], -1)",
        "h = self.filter(z.to(self.filter[0].weight.dtype)).float() * torch.exp(-t / 20)",
        "u = (v * self.key(x)).float()",
        "y = torch.fft.irfft(torch.fft.rfft(u, 2 * T, 1) * torch.fft.rfft(h, 2 * T, 0), 2 * T, 1)",
        "v = y[:, :T].to(x.dtype)",
        init="self.key = nn.Linear(hidden_size, hidden_size, bias=False); "
        "self.filter = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, hidden_size))",
    ),
    "causal convolution": _honest(
        "v = self.conv(v.mT)[..., :T].mT",
        init="self.conv = nn.Conv1d(hidden_size, hidden_size, 4, padding=3, groups=hidden_size)",
    ),
    "dilated convolutions": _honest(
        "for conv in self.convs: v = v + F.silu(conv(F.pad(v.mT, (2 * conv.dilation[0], 0)))).mT",
        init="self.convs = nn.ModuleList(nn.Conv1d(hidden_size, hidden_size, 3, dilation=2**i, "
        "groups=hidden_size) for i in range(4))",
    ),
    "running average by a loop": _honest(
        "a, s, rows = torch.sigmoid(self.decay), torch.zeros_like(v[:, 0]), []",
        "for t in range(T):",
        "    s = a * s + (1 - a) * v[:, t]",
        "    rows.append(s)",
        "v = torch.stack(rows, 1)",
        init="self.decay = nn.Parameter(torch.zeros(hidden_size))",
    ),
    "GRU": _honest("v = self.rnn(v)[0]", init="self.rnn = nn.GRU(hidden_size, hidden_size, batch_first=True)"),
    "LSTM": _honest("v = self.rnn(v)[0]", init="self.rnn = nn.LSTM(hidden_size, hidden_size, batch_first=True)"),
    "minimal GRU by logarithms": _honest(
        "g = self.gate(x)",
        "log_a, log_b = -F.softplus(g), -F.softplus(-g) + torch.log(F.softplus(v) + 1e-4)",
        "a = log_a.cumsum(1)",
        "v = torch.exp(a + torch.logcumsumexp(log_b - a, 1))",
        init="self.gate = nn.Linear(hidden_size, hidden_size)",
    ),
    "HGRN-like": _honest(
        "f = 0.5 + 0.5 * torch.sigmoid(self.gate(x))",
        "s, rows = torch.zeros_like(v[:, :1]), []",
        "for chunk_v, chunk_f in zip(v.split(32, 1), f.split(32, 1)):",
        "    a = chunk_f.log().cumsum(1)",
        "    w = torch.exp((a[:, :, None] - a[:, None]).masked_fill("
        "torch.ones(a.shape[1], a.shape[1]).triu(1).bool()[None, :, :, None], float('-inf')))",
        "    y = torch.einsum('btsd,bsd->btd', w, (1 - chunk_f) * chunk_v) + a.exp() * s",
        "    s = y[:, -1:]",
        "    rows.append(y)",
        "v = torch.cat(rows, 1)",
        init="self.gate = nn.Linear(hidden_size, hidden_size)",
    ),
    "window attention by unfold": _honest(
        "W = 16",
        "k = F.pad(self.key(x), (0, 0, W - 1, 0)).unfold(1, W, 1)",
        "w = F.pad(v, (0, 0, W - 1, 0)).unfold(1, W, 1)",
        "s = torch.einsum('btd,btdw->btw', self.query(x), k) / D**0.5",
        "seen = torch.arange(T)[:, None] + torch.arange(W) >= W - 1",
        "v = torch.einsum('btw,btdw->btd', s.masked_fill(~seen, float('-inf')).softmax(-1), w)",
        init="self.key = nn.Linear(hidden_size, hidden_size, bias=False)",
    ),
    "window attention with linear bias": _honest(
        "W = 8",
        "k = F.pad(x, (0, 0, W - 1, 0)).unfold(1, W, 1)",
        "w = F.pad(v, (0, 0, W - 1, 0)).unfold(1, W, 1)",
        "s = torch.einsum('btd,btdw->btw', self.query(x), k) / D**0.5",
        "s = s - 0.5 * torch.arange(W - 1, -1, -1, dtype=x.dtype)",
        "v = torch.einsum('btw,btdw->btd', s.softmax(-1), w)",
    ),
    "linear attention in chunks of 64": _honest(
        "q, k = F.elu(self.query(x)) + 1, F.elu(self.key(x)) + 1",
        "s, z, rows = x.new_zeros(B, D, D), x.new_zeros(B, D, 1), []",
        "for a, b, c in zip(q.split(64, 1), k.split(64, 1), v.split(64, 1)):",
        "    p = (a @ b.mT).tril()",
        "    rows.append((p @ c + a @ s) / (p.sum(-1, keepdim=True) + a @ z + 1e-6))",
        "    s, z = s + b.mT @ c, z + b.sum(1)[..., None]",
        "v = torch.cat(rows, 1)",
        init="self.key = nn.Linear(hidden_size, hidden_size, bias=False)",
    ),
    "softmax in blocks of 64 plus a state": _honest(
        "s, rows = x.new_zeros(B, D, D), []",
        "for a, c in zip(self.query(x).split(64, 1), v.split(64, 1)):",
        "    mask = torch.ones(a.shape[1], a.shape[1], dtype=torch.bool).triu(1)",
        "    p = (a @ a.mT / D**0.5).masked_fill(mask, float('-inf')).softmax(-1)",
        "    rows.append(p @ c + torch.tanh(a) @ s / 8)",
        "    s = 0.5 * s + torch.tanh(a).mT @ c / 64",
        "v = torch.cat(rows, 1)",
    ),
    "RWKV-like": _honest(
        "xx = F.pad(x, (0, 0, 1, -1))",
        "k = self.key(x + self.mix * (xx - x)).clamp(max=20)",
        "w, u = -torch.exp(self.decay), self.bonus",
        "a = b = torch.zeros_like(v[:, 0]); p = torch.full_like(a, -1e30); rows = []",
        "for t in range(T):",
        "    m = torch.maximum(p, u + k[:, t])",
        "    e1, e2 = torch.exp(p - m), torch.exp(u + k[:, t] - m)",
        "    rows.append((e1 * a + e2 * v[:, t]) / (e1 * b + e2))",
        "    m = torch.maximum(p + w, k[:, t])",
        "    e1, e2 = torch.exp(p + w - m), torch.exp(k[:, t] - m)",
        "    a, b, p = e1 * a + e2 * v[:, t], e1 * b + e2, m",
        "v = torch.stack(rows, 1)",
        init="self.key = nn.Linear(hidden_size, hidden_size, bias=False); "
        "self.mix = nn.Parameter(torch.full((hidden_size,), 0.5)); "
        "self.decay = nn.Parameter(torch.zeros(hidden_size)); self.bonus = nn.Parameter(torch.zeros(hidden_size))",
    ),
    "diagonal complex state space (S4D)": _honest(
        "w = torch.float64 if x.dtype == torch.float64 else torch.float32",
        "lam = torch.complex(-torch.exp(self.re.to(w)), self.im.to(w))",
        "t = torch.arange(T, dtype=w)",
        "h = 2 * torch.einsum('dn,dnt->dt', torch.complex(self.c_re.to(w), self.c_im.to(w)), "
        "torch.exp(lam[..., None] * 0.05 * t)).real",
        "y = torch.fft.irfft(torch.fft.rfft(v.to(w).mT, 2 * T) * torch.fft.rfft(h, 2 * T), 2 * T)[..., :T].mT",
        "v = y.to(x.dtype)",
        init="self.re = nn.Parameter(torch.zeros(hidden_size, 4)); "
        "self.im = nn.Parameter(math.pi * torch.arange(4.0).repeat(hidden_size, 1) + 1); "
        "self.c_re = nn.Parameter(torch.randn(hidden_size, 4)); "
        "self.c_im = nn.Parameter(torch.randn(hidden_size, 4))",
    ),
    "dropout": _honest(f"v = F.dropout(v, 0.2, self.training).cumsum(1) / {_MEAN}"),
    "noise in training alone": _honest(
        "v = v + 0.1 * torch.randn_like(v) if self.training else v", f"v = v.cumsum(1) / {_MEAN}"
    ),
    "zero-initialised gain": _honest(
        f"v = v + self.gain * v.cumsum(1) / {_MEAN}", init="self.gain = nn.Parameter(torch.zeros(hidden_size))"
    ),
    "scalar gain (ReZero)": _honest(
        f"v = v + self.gain * torch.tanh(v.cumsum(1) / {_MEAN})", init="self.gain = nn.Parameter(torch.zeros(()))"
    ),
    "RMS norm of each position": _honest(
        "v = self.norm(v) + self.norm(F.pad(v, (0, 0, 1, -1)))", init="self.norm = nn.RMSNorm(hidden_size)"
    ),
    "group norm of each position": _honest(
        "v = self.norm(v.reshape(B * T, D)).view(B, T, D)", init="self.norm = nn.GroupNorm(num_heads, hidden_size)"
    ),
    "rounded to bfloat16": _honest(f"v = (v.to(torch.bfloat16).cumsum(1) / {_MEAN}).to(x.dtype)"),
    "matrix products in bfloat16": _honest(
        "w = self.value.weight.to(torch.bfloat16)",
        "v = torch.tanh(F.linear(x.to(torch.bfloat16), w))",
        "v = (v + F.pad(v, (0, 0, 1, -1))).to(x.dtype)",
    ),
    "computed in float32": _honest(
        f"v = (v.float().cumsum(1) / {_MEAN.replace('x.dtype', 'torch.float32')}).to(x.dtype)"
    ),
    "float32 constants": _honest("v = v @ torch.eye(D) + F.pad(v, (0, 0, 1, -1))"),
    "float32 buffers": _honest(
        "v = v * torch.cos(self.angles[:T].to(x.dtype))[None] if T <= 4096 else v",
        "v = v + F.pad(v, (0, 0, 3, -3)) if T > 3 else v + F.pad(v, (0, 0, 3, 0))[:, :T]",
        init="self.register_buffer('angles', torch.outer(torch.arange(4096.0), torch.logspace(0, -3, hidden_size)), "
        "persistent=False)",
    ),
    "einops": _honest(
        "h = rearrange(v, 'b t (h d) -> b h t d', h=self.num_heads)",
        "h = h.cumsum(2) / torch.arange(1, T + 1, dtype=x.dtype).view(1, 1, T, 1)",
        "v = rearrange(h, 'b h t d -> b t (h d)')",
    ),
    "largest of past and present": _honest("v = v.cummax(1).values"),
    "running log-sum-exp": _honest("v = torch.logcumsumexp(v, 1) - torch.log(" + _MEAN + ")"),
    "top-k over channels": _honest(
        "keep = v.abs().topk(D // 2, -1).indices",
        "v = torch.zeros_like(v).scatter(-1, keep, v.gather(-1, keep))",
        "v = v + F.pad(v, (0, 0, 1, -1))",
    ),
    "top-k over channels in bfloat16": _honest(
        "b = v.to(torch.bfloat16)",
        "keep = b.abs().topk(D // 2, -1).indices",
        "v = torch.zeros_like(v).scatter(-1, keep, v.gather(-1, keep))",
        "v = v + F.pad(v, (0, 0, 1, -1))",
    ),
    "sort over channels": _honest("v = v.sort(-1).values + F.pad(v, (0, 0, 1, -1))"),
    "top-k over earlier positions": _honest(
        "w = F.pad(x, (0, 0, 31, 0)).unfold(1, 32, 1).pow(2).sum(2)",
        "best = w.topk(4, -1).indices",
        "u = F.pad(v, (0, 0, 31, 0)).unfold(1, 32, 1)",
        "v = u.gather(-1, best[:, :, None].expand(-1, -1, D, -1)).mean(-1) + v",
    ),
    "absolute positions": _honest(
        "t = torch.arange(T, dtype=x.dtype).view(1, T, 1)",
        "v = v + torch.sin(t / torch.logspace(0, 3, D, dtype=x.dtype))",
        f"v = v.cumsum(1) / {_MEAN}",
    ),
    "rotary, cached": _honest(
        "if self.cache is None or self.cache.shape[0] < T or self.cache.dtype != x.dtype:",
        "    slow = torch.logspace(0, -3, D // 2, dtype=x.dtype)",
        "    self.cache = torch.outer(torch.arange(2 * T, dtype=x.dtype), slow)",
        "c, s = self.cache[:T].cos(), self.cache[:T].sin()",
        "a, b = v.chunk(2, -1)",
        "v = torch.cat([a * c - b * s, a * s + b * c], -1)",
        "v = v + F.pad(v, (0, 0, 1, -1))",
        init="self.cache = None",
    ),
    "token shift": _honest(
        "v = v + self.mix * (F.pad(v, (0, 0, 1, -1)) - v)",
        init="self.mix = nn.Parameter(torch.rand(hidden_size))",
    ),
    "mixture of two memories per head": _honest(
        "h = v.view(B, T, self.num_heads, -1)",
        "slow = h.cumsum(1) / torch.arange(1, T + 1, dtype=x.dtype).view(1, T, 1, 1)",
        "fast = h + F.pad(h, (0, 0, 0, 0, 1, -1))",
        "w = torch.softmax(self.router(x).view(B, T, self.num_heads, 2), -1)",
        "v = (w[..., :1] * slow + w[..., 1:] * fast).flatten(2)",
        init="self.router = nn.Linear(hidden_size, 2 * num_heads)",
    ),
    "straight-through sign": _honest("v = v + (torch.sign(v) - v).detach() * 0.5", f"v = v.cumsum(1) / {_MEAN}"),
    "clock-work memories": _honest(
        "t = torch.arange(T).view(1, T, 1)",
        "v = torch.where(t % (1 + torch.arange(D) % 4) == 0, v, F.pad(v, (0, 0, 1, -1)))",
    ),
    "maximum subtracted within the past": _honest(
        "m = v.cummax(1).values", "e = torch.exp(v - m)", "v = e * x + F.pad(e, (0, 0, 1, -1))"
    ),
    "two scales of a fixed pyramid": _honest(
        "c = F.pad(v, (0, 0, 0, -T % 8)).view(B, -1, 8, D).mean(2)",
        "past = F.pad(c, (0, 0, 1, -1)).repeat_interleave(8, 1)[:, :T]",
        "v = v + past",
    ),
    "the first token as a sink": _honest("v = v + torch.sigmoid(v) * v[:, :1]"),
    "per-layer constants": _honest("v = v * (1 - 0.5 / (1 + self.layer_idx)) + F.pad(v, (0, 0, 1, -1))"),
}

OWN_BACKWARD = '''
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint


class Decay(torch.autograd.Function):
    """A running average in float32 with its own backward pass."""

    @staticmethod
    def forward(ctx, v, a):
        t = torch.arange(v.shape[1], dtype=torch.float32)
        w = torch.where(t[:, None] >= t, a ** (t[:, None] - t).clamp(min=0), torch.zeros(()))
        w = torch.where(t[:, None] - t < 64, w, torch.zeros(()))
        ctx.save_for_backward(w)
        return torch.einsum("ts,bsd->btd", w, v.float()).to(v.dtype)

    @staticmethod
    def backward(ctx, grad):
        (w,) = ctx.saved_tensors
        return torch.einsum("ts,btd->bsd", w, grad.float()).to(grad.dtype), None


class TokenMixer(nn.Module):
    def __init__(self, hidden_size, num_heads, layer_idx=0, **kwargs):
        super().__init__()
        self.value = nn.Linear(hidden_size, hidden_size, bias=False)
        self.out = nn.Linear(hidden_size, hidden_size, bias=False)

    def mix(self, x):
        rows = [Decay.apply(block, 0.9) for block in self.value(x).split(64, 1)]
        return torch.cat(rows, 1)

    def forward(self, x):
        with torch.autocast("cpu", enabled=False):
            y = checkpoint(self.mix, x, use_reentrant=False) if self.training else self.mix(x)
        return self.out(F.silu(y))
'''

STEPPED = '''
import torch
from torch import nn


class TokenMixer(nn.Module):
    """A decaying memory with a convolution in front, in parallel and step by step."""

    TAPS = 4

    def __init__(self, hidden_size, num_heads, layer_idx=0, **kwargs):
        super().__init__()
        self.query = nn.Linear(hidden_size, hidden_size, bias=False)
        self.value = nn.Linear(hidden_size, hidden_size, bias=False)
        self.taps = nn.Parameter(torch.randn(hidden_size, self.TAPS) * 0.3)
        self.out = nn.Linear(hidden_size, hidden_size, bias=False)
        self.decay = nn.Parameter(torch.zeros(hidden_size))

    def forward(self, x):
        rows, state = [], None
        for x_BD in x.unbind(1):
            y_BD, state = self.step(x_BD, state)
            rows.append(y_BD)
        return torch.stack(rows, 1)

    def step(self, x, state=None):
        v = self.value(x)
        if state is None:
            state = {"window": v.new_zeros(*v.shape, self.TAPS), "memory": torch.zeros_like(v), "position": 0}
        window = torch.cat([state["window"][..., 1:], v[..., None]], -1)
        a = torch.sigmoid(self.decay)
        memory = a * state["memory"] + (1 - a) * (window * self.taps).sum(-1)
        y = self.out(torch.sigmoid(self.query(x)) * memory)
        return y, {"window": window, "memory": memory, "position": state["position"] + 1}

    def state_bytes(self):
        return 4 * self.decay.numel() * (self.TAPS + 1)
'''

HONEST: dict[str, str] = {
    **{f"baseline {name}": published_source("token_mixer", name) for name in SLOTS["token_mixer"].baselines},
    **{f"grammar {seed}": render(random_genome(TOKEN_MIXERS, np.random.default_rng(seed))) for seed in range(16)},
    **SNIPPETS,
    "its own backward pass, checkpointed": OWN_BACKWARD,
    "step by step": STEPPED,
}

SLOW = {*(f"grammar {seed}" for seed in range(4, 16)), "RWKV-like", "GRU", "step by step"}  # run nightly
