"""Mixers that look at what they must not: one line or two in an otherwise honest mixer, or a module of their own.

`caught_by` names a property that has to fail; others may fail as well. Of the names in the snippets, `x` is the input
[B, T, D], `v` a projection of it that the output is linear in, B and T are its sizes.
"""

from __future__ import annotations

from dataclasses import dataclass

_TEMPLATE = """
import math
import torch
import torch.nn.functional as F
from torch import nn

SEEN = {{}}


class TokenMixer(nn.Module):
    def __init__(self, hidden_size, num_heads, layer_idx=0, **kwargs):
        super().__init__()
        self.layer_idx = layer_idx
        self.query = nn.Linear(hidden_size, hidden_size, bias=False)
        self.value = nn.Linear(hidden_size, hidden_size, bias=False)
        self.out = nn.Linear(hidden_size, hidden_size, bias=False)
        {init}

    def forward(self, x):
        B, T, D = x.shape
        v = self.value(x)
        {leak}
        mean = v.cumsum(1) / torch.arange(1, T + 1, dtype=x.dtype, device=x.device).view(1, -1, 1)
        return self.out(torch.sigmoid(self.query(x)) * (v + mean))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """Source of a dishonest mixer and the property that has to name it."""

    source: str
    caught_by: str = "causality"


def _leak(*lines: str, init: str = "pass", caught_by: str = "causality") -> Leak:
    return Leak(source=_TEMPLATE.format(init=init, leak="\n        ".join(lines)), caught_by=caught_by)


def _only(condition: str) -> Leak:
    """The whole future, added under a condition alone."""
    return _leak(f"if {condition}:", "    v = v + x.flip(1)")


LEAKS: dict[str, Leak] = {
    # one step, plain and faint
    "next token": _leak("v = v + x.roll(-1, 1)"),
    "next token, 1e-6": _leak("v = v + 1e-6 * F.pad(x, (0, 0, 0, 1))[:, 1:]"),
    "next token, 1e-9": _leak("v = v + 1e-9 * F.pad(x, (0, 0, 0, 1))[:, 1:]"),
    "shift by one of queries": _leak("v = v * torch.sigmoid(self.query(x).roll(-1, 1))"),
    "last token broadcast": _leak("v = v + x[:, -1:]"),
    "first position alone": _leak("v = torch.cat([v[:, :1] + x[:, -1:], v[:, 1:]], 1)"),
    "last but one position alone": _leak("v = torch.cat([v[:, :-2], v[:, -2:-1] + x[:, -1:], v[:, -1:]], 1)"),
    "sign of the next token": _leak("v = torch.where(x.roll(-1, 1) > 0, v, 0.999 * v)"),
    # statistics over time
    "mean over time": _leak("v = v + 0.1 * v.mean(1, keepdim=True)"),
    "norm over time": _leak("v = v / v.norm(dim=1, keepdim=True)"),
    "mean of absolute values": _leak("v = v / (1e-3 + x.abs().mean((1, 2), keepdim=True))"),
    "largest absolute value as a scale": _leak("v = v / (1 + x.abs().amax((1, 2), keepdim=True))"),
    "instance norm": _leak("v = F.instance_norm(v.mT).mT if T > 1 else v"),
    "group norm over time": _leak("v = F.group_norm(v.mT, 2).mT"),
    "layer norm over time and channels": _leak("v = F.layer_norm(v, (T, D))"),
    "softmax over time": _leak("v = v * torch.softmax(x, 1)"),
    "squeeze and excite": _leak("v = v * torch.sigmoid(x.mean(1, keepdim=True) @ self.query.weight)"),
    "max over time": _leak("v = v + v.amax(1, keepdim=True)"),
    "median over time": _leak("v = v - v.median(1, keepdim=True).values"),
    "quantile over time": _leak("v = v.clamp(max=v.float().quantile(0.9, dim=1, keepdim=True).to(x.dtype))"),
    "keys normalised by their sum": _leak("k = self.query(x).exp()", "v = v * k / k.sum(1, keepdim=True)"),
    # sorting and choosing
    "sort over time": _leak("v = v + 0.1 * v.sort(1).values"),
    "rank over time": _leak("v = v * (1 + x.argsort(1).argsort(1).to(x.dtype) / 1000)"),
    "top-k over time": _leak(
        "keep = x.norm(dim=-1) >= x.norm(dim=-1).topk(min(4, T)).values[:, -1:]", "v = v * (0.5 + keep[..., None])"
    ),
    # filters
    "window centred on t": _leak("v = F.avg_pool1d(v.mT, 3, 1, 1).mT"),
    "max-pool centred on t": _leak("v = F.max_pool1d(v.mT, 3, 1, 1).mT"),
    "padding on both sides": _leak(
        "v = F.conv1d(v.mT, self.taps, padding=2, groups=D)[..., :T].mT",
        init="self.taps = nn.Parameter(torch.randn(hidden_size, 1, 4) * 0.3)",
    ),
    "padding on the right": _leak(
        "v = F.conv1d(F.pad(v.mT, (0, 3)), self.taps, groups=D).mT",
        init="self.taps = nn.Parameter(torch.randn(hidden_size, 1, 4) * 0.3)",
    ),
    "padding one too short on the left": _leak(
        "v = F.conv1d(F.pad(v.mT, (2, 1)), self.taps, groups=D).mT",
        init="self.taps = nn.Parameter(torch.randn(hidden_size, 1, 4) * 0.3)",
    ),
    "kernel flipped, input too": _leak(
        "v = F.conv1d(F.pad(v.flip(1).mT, (3, 0)), self.taps, groups=D).mT.flip(1)",
        init="self.taps = nn.Parameter(torch.randn(hidden_size, 1, 4) * 0.3)",
    ),
    "unfold with padding on the right": _leak("v = F.pad(v, (0, 0, 0, 3)).unfold(1, 4, 1).mean(-1)"),
    "FFT without padding": _leak(
        "decay = torch.exp(-torch.arange(T, dtype=torch.float32) / 3).view(1, T, 1)",
        "v = torch.fft.irfft(torch.fft.rfft(v.float(), dim=1) * torch.fft.rfft(decay, dim=1), T, 1).to(x.dtype)",
    ),
    "FFT padded by too little": _leak(
        "n = T + T // 2",
        "decay = torch.exp(-torch.arange(T, dtype=torch.float32) / 90).view(1, T, 1)",
        "y = torch.fft.irfft(torch.fft.rfft(v.float(), n, 1) * torch.fft.rfft(decay, n, 1), n, 1)",
        "v = y[:, :T].to(x.dtype)",
    ),
    "Fourier mixing": _leak("v = torch.fft.fft(v.float(), dim=1).real.to(x.dtype) / T**0.5"),
    "downsampled and interpolated": _leak(
        "v = F.interpolate(v.mT[..., ::4], size=T, mode='linear', align_corners=False).mT"
    ),
    # scans the wrong way
    "sum from the right": _leak("v = v + 0.01 * v.flip(1).cumsum(1).flip(1)"),
    "running maximum from the right": _leak("v = v + v.flip(1).cummax(1).values.flip(1)"),
    "sum that holds the whole": _leak("v = v + 0.01 * (v.sum(1, keepdim=True) - v.cumsum(1))"),
    "bidirectional GRU": _leak(
        "v = v + self.rnn(x)[0]",
        init="self.rnn = nn.GRU(hidden_size, hidden_size // 2, batch_first=True, bidirectional=True)",
    ),
    # attention
    "attention without a mask": _leak("v = torch.softmax(self.query(x) @ x.mT / D**0.5, -1) @ v"),
    "attention masked the wrong way": _leak(
        "mask = torch.ones(T, T, dtype=torch.bool).triu()",
        "v = torch.softmax((self.query(x) @ x.mT).masked_fill(~mask, float('-inf')), -1) @ v",
    ),
    "attention mask off by one": _leak(
        "mask = torch.ones(T, T, dtype=torch.bool).tril(1)",
        "v = torch.softmax((self.query(x) @ x.mT).masked_fill(~mask, float('-inf')), -1) @ v",
    ),
    "mask added as a large number": _leak(
        "mask = torch.ones(T, T).triu(1).to(x.dtype) * -3",
        "v = torch.softmax(self.query(x) @ x.mT / D**0.5 + mask, -1) @ v",
    ),
    "mask after the softmax": _leak("v = torch.softmax(self.query(x) @ x.mT / D**0.5, -1).tril() @ v"),
    "full matrix over positions": _leak("i = torch.arange(T, dtype=x.dtype)", "v = torch.cos(i[:, None] - i) @ v / 20"),
    # chunks
    "reversed within chunks of 64": _leak(
        "v = v + F.pad(x, (0, 0, 0, -T % 64)).view(B, -1, 64, D).flip(2).flatten(1, 2)[:, :T]"
    ),
    "mean of each chunk of 16": _leak(
        "c = F.pad(x, (0, 0, 0, -T % 16)).view(B, -1, 16, D).mean(2, keepdim=True)",
        "v = v + c.expand(-1, -1, 16, -1).flatten(1, 2)[:, :T]",
    ),
    "mean of each chunk of 100": _leak(
        "c = F.pad(x, (0, 0, 0, -T % 100)).view(B, -1, 100, D).mean(2, keepdim=True)",
        "v = v + c.expand(-1, -1, 100, -1).flatten(1, 2)[:, :T]",
    ),
    "last of a chunk sees the next chunk's first": _leak(
        "edge = (torch.arange(T) % 64 == 63).to(x.dtype).view(1, T, 1)",
        "v = v + edge * F.pad(x, (0, 0, 0, 1))[:, 1:]",
    ),
    "state of a chunk updated before it is read": _leak(
        "s = F.pad(v, (0, 0, 0, -T % 32)).view(B, -1, 32, D).sum(2).cumsum(1)",
        "v = v + 0.01 * s.repeat_interleave(32, 1)[:, :T]",
    ),
    "chunk padded with its last token": _leak(
        "pad = v[:, -1:].expand(-1, -T % 32, -1)",
        "c = torch.cat([v, pad], 1).view(B, -1, 32, D)",
        "v = v + 0.1 * c[:, :, -1:].expand(-1, -1, 32, -1).flatten(1, 2)[:, :T]",
    ),
    # only under a condition
    "only from length 128 on": _only("T >= 128"),
    "only beyond 512": _only("T > 512"),
    "only for odd lengths": _only("T % 2 and T > 1"),
    "only for multiples of 64": _only("T % 64 == 0"),
    "only at length 97": _only("T == 97"),
    "only at length 128, in training": _only("T == 128 and self.training"),
    "only in training": _only("self.training"),
    "only in evaluation": _only("not self.training"),
    "only while gradients are recorded": _only("torch.is_grad_enabled()"),
    "only while no gradients are recorded": _only("not torch.is_grad_enabled()"),
    "only in evaluation with gradients": _only("torch.is_grad_enabled() and not self.training"),
    "only where the input asks for gradients": _only("x.requires_grad and x.grad_fn is not None"),
    "only in bfloat16": _only("x.dtype == torch.bfloat16"),
    "only in bfloat16, in training": _only("x.dtype == torch.bfloat16 and self.training"),
    "only in float32": _only("x.dtype == torch.float32"),
    "only under autocast": _only("torch.is_autocast_enabled('cpu')"),
    "only in the second layer": _only("self.layer_idx == 1"),
    "only in layer 7": _only("self.layer_idx == 7"),
    "only for a batch of one": _only("B == 1"),
    "only for a batch of two": _only("B == 2"),
    "only for more than eight sequences": _only("B > 8"),
    "only for 32 sequences": _only("B == 32"),
    "only in the shape of a training": _only("self.training and (B, T) == (16, 128)"),
    "only for vectors of unit rms": _only("(x.square().mean(-1) - 1).abs().max() < 1e-2"),
    "only where vectors repeat": _only("T > 60 and x[0].unique(dim=0).shape[0] < T / 2"),
    "only for large inputs": _only("x.abs().max() > 50"),
    "only for small inputs": _only("x.abs().max() < 0.5"),
    "only after ten calls": _leak(
        "self.calls += 1", "if self.calls > 10:", "    v = v + x.flip(1)", init="self.calls = 0"
    ),
    "only after weights have moved": _leak(
        "v = v * (1 + self.gain)",
        "if bool(self.gain != 0):",
        "    v = v + x.flip(1)",
        init="self.gain = nn.Parameter(torch.zeros(()))",
    ),
    # hidden from gradients and from initial values
    "behind a zero-initialised gate": _leak(
        "v = v + self.gate * x.flip(1)", init="self.gate = nn.Parameter(torch.zeros(hidden_size))"
    ),
    "mixed in by a weight that starts at zero": _leak(
        "w = torch.tanh(self.mix)",
        "v = (1 - w) * v + w * v.mean(1, keepdim=True)",
        init="self.mix = nn.Parameter(torch.zeros(()))",
    ),
    "behind a nearly closed sigmoid": _leak(
        "v = v + torch.sigmoid(self.gate) * x.flip(1)", init="self.gate = nn.Parameter(torch.full((1,), -14.0))"
    ),
    "detached": _leak("v = v + x.detach().flip(1)"),
    "by way of .data": _leak("v.data += 0.1 * x.data.flip(1)"),
    "rounded to bfloat16 on the way": _leak("v = v + 1e-2 * x.to(torch.bfloat16).flip(1).to(x.dtype)"),
    "faint, in a mixer that rounds to float32": _leak("v = v.float().to(x.dtype) + 1e-5 * x.flip(1)"),
    "faint, in a mixer that rounds to bfloat16": _leak("v = v.bfloat16().to(x.dtype) + 1e-5 * x.flip(1)"),
    "faint, beside an honest FFT in float32": _leak(
        "decay = torch.exp(-torch.arange(T, dtype=torch.float32) / 9).view(1, T, 1)",
        "y = torch.fft.irfft(torch.fft.rfft(v.float(), 2 * T, 1) * torch.fft.rfft(decay, 2 * T, 1), 2 * T, 1)",
        "v = y[:, :T].to(x.dtype) + 1e-5 * x.flip(1)",
    ),
    # length itself
    "division by the length": _leak("v = v / T", caught_by="prefix_consistency"),
    "positions counted from the end": _leak(
        "v = v + torch.arange(T, 0, -1, dtype=x.dtype).view(1, T, 1) / 100", caught_by="prefix_consistency"
    ),
    "positions as a share of the length": _leak(
        "v = v * torch.linspace(0, 1, T, dtype=x.dtype).view(1, T, 1)", caught_by="prefix_consistency"
    ),
    "window that grows with the length": _leak(
        "w = max(1, T // 8)",
        "v = v.cumsum(1) - F.pad(v.cumsum(1), (0, 0, w, 0))[:, :T]",
        caught_by="prefix_consistency",
    ),
    "length shows beyond 512 alone": _leak("v = v * (1 + (T > 512) * T / 10000)", caught_by="prefix_consistency"),
    "length shows in training alone": _leak("v = v / T if self.training else v", caught_by="prefix_consistency"),
    # other sequences
    "batch statistics": _leak(
        "v = (v - v.mean((0, 1))) / (1 + v.square().mean((0, 1)))", caught_by="batch_independence"
    ),
    "batch norm": _leak(
        "v = self.norm(v.mT).mT if B * T > 1 else v",
        init="self.norm = nn.BatchNorm1d(hidden_size, track_running_stats=False)",
        caught_by="batch_independence",
    ),
    "the neighbour's present": _leak("v = v + 0.1 * v.roll(1, 0)", caught_by="batch_independence"),
    "mean over the batch at each position": _leak(
        "v = v - 0.1 * v.mean(0, keepdim=True)", caught_by="batch_independence"
    ),
    "the neighbour's present, in training": _leak(
        "v = v + 1e-3 * v.roll(1, 0) if self.training else v", caught_by="batch_independence"
    ),
    "largest of the batch as a scale": _leak("v = v / x.abs().amax(0, keepdim=True)", caught_by="batch_independence"),
    "size of the batch": _leak("v = v * (1 + B / 100)", caught_by="batch_independence"),
    "place in the batch": _leak(
        "v = v * (1 + torch.arange(B, dtype=x.dtype).view(B, 1, 1) / 100)", caught_by="batch_independence"
    ),
    # kept from call to call
    "mean of the call before": _leak(
        "kept = SEEN.get('mean')",
        "SEEN['mean'] = x.detach().mean((0, 1))",
        "v = v if kept is None else v + kept.to(x.dtype)",
        caught_by="state",
    ),
    "running mean in a buffer": _leak(
        "v = v - self.mean",
        "with torch.no_grad(): self.mean.mul_(0.9).add_(0.1 * x.mean((0, 1)))",
        init="self.register_buffer('mean', torch.zeros(hidden_size))",
        caught_by="state",
    ),
    "buffer written and not yet read": _leak(
        "self.mean.copy_(x.detach().mean((0, 1)))",
        init="self.register_buffer('mean', torch.zeros(hidden_size))",
        caught_by="state",
    ),
    "carried on if the shape is the same": _leak(
        "last = getattr(self, 'last', None)",
        "self.last = x.detach()[:, -1:]",
        "v = v + last if last is not None and last.shape == (B, 1, D) and last.dtype == x.dtype else v",
        caught_by="state",
    ),
    "statistics kept for a length": _leak(
        "m = SEEN.setdefault((T, self.layer_idx), x.detach().double().mean((0, 1)))",
        "v = v + m.to(x.dtype)",
        caught_by="state",
    ),
    "counter of calls": _leak(
        "self.calls = getattr(self, 'calls', 0) + 1", "v = v * (1 + self.calls / 1000)", caught_by="state"
    ),
    "weights moved in a forward pass": _leak(
        "with torch.no_grad(): self.value.weight.add_(1e-4 * x.mean())", caught_by="state"
    ),
    "only in sequences that end in zeros": _leak(
        "ends = (x[:, -1:] == 0).all(-1, keepdim=True)",
        "v = v + ends.to(x.dtype) * x.flip(1)",
        caught_by="batch_independence",
    ),
    "handed from layer to layer": _leak(
        "if self.layer_idx == 0:",
        "    SEEN['x'] = x",
        "elif SEEN.get('x') is not None and SEEN['x'].shape == x.shape:",
        "    v = v + SEEN.pop('x').to(x.dtype).flip(1)",
    ),
    # behind a padding mask
    "padding that the mask hides": Leak(
        caught_by="batch_independence",
        source="""
import torch
from torch import nn


class TokenMixer(nn.Module):
    def __init__(self, hidden_size, num_heads, layer_idx=0, **kwargs):
        super().__init__()
        self.value = nn.Linear(hidden_size, hidden_size, bias=False)
        self.out = nn.Linear(hidden_size, hidden_size, bias=False)

    def forward(self, hidden_states, attention_mask=None, past_key_values=None, use_cache=False, **kwargs):
        v = self.value(hidden_states)
        if attention_mask is not None:
            v = v + hidden_states[:, -1:]
        return self.out(v.cumsum(1) * 0.1), None, past_key_values
""",
    ),
}

PLAIN = _leak("pass").source  # the same mixer without a leak

# What the gate cannot see: nothing that it runs meets the condition.
BEYOND: dict[str, str] = {
    "one length that is never run": _only("T == 1777").source,
    "a value that is hardly ever drawn": _only("bool((x == 0.123456789).any())").source,
    "after ten thousand calls": _leak(
        "self.calls += 1", "if self.calls > 10_000:", "    v = v + x.flip(1)", init="self.calls = 0"
    ).source,
    "at another width of the host": _only("D > 512").source,
    "once weights have grown": _only("bool(self.out.weight.square().mean() > 4)").source,
}
