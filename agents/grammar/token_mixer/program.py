"""The text of a program under construction: lines per section, joined by `Program.source`."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field

_HELPERS = {
    "keep": '''
def keep(past: dict | None, name: str, operator, *inputs: torch.Tensor, **options) -> torch.Tensor:
    """What the operator gives; in decoding continued from what it left in `past`, where it leaves its state again."""
    if past is None:
        return operator(*inputs, **options)
    out, past[name] = with_state(operator, *inputs, state=past.get(name), **options)
    return out
''',
    "identity_filter": '''
def identity_filter(channels: int, taps: int) -> nn.Parameter:
    """A causal filter that starts as the identity: one at the current step (the last tap), zero before it."""
    weight = torch.zeros(channels, taps)
    weight[:, -1] = 1.0
    return nn.Parameter(weight)
''',
    "short_filter": '''
def short_filter(channels: int, taps: int) -> nn.Parameter:
    """A causal depthwise filter with the usual uniform initialisation."""
    return nn.Parameter((2 * torch.rand(channels, taps) - 1) * taps**-0.5)
''',
    "rotary": '''
def rotary(x: torch.Tensor, start: int) -> torch.Tensor:
    """Rotate channel pairs by angles that grow with the position, counted from `start` (arXiv 2104.09864)."""
    half = x.shape[-1] // 2
    rates = 10000.0 ** (-torch.arange(half, device=x.device) / half)
    angles = torch.arange(start, start + x.shape[1], device=x.device)[:, None, None] * rates
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
''',
    "statistics": '''
def statistics(path: torch.Tensor) -> torch.Tensor:
    """Mean, spread and absolute mean of a path over its value channels: [B, T, H, 3]."""
    spread = (path.var(dim=-1, unbiased=False) + 1e-6).sqrt()
    return torch.stack([path.mean(dim=-1), spread, path.abs().mean(dim=-1)], dim=-1)
''',
}


@dataclass(slots=True)
class Program:
    """Lines of a candidate, by section. A section's lines are indented when the source is put together."""

    operators: set[str] = field(default_factory=set)  # imported from kernels.dispatch
    helpers: set[str] = field(default_factory=set)  # names in _HELPERS
    init: list[str] = field(default_factory=list)
    forward: list[str] = field(default_factory=list)  # of x; `past` is None, or what decoding has kept
    state: list[str] = field(default_factory=list)  # terms: numbers that decoding keeps

    def source(self, docstring: str) -> str:
        """The module's text; F and the operators are imported only where they are used."""
        helpers = [text.strip("\n") for name, text in _HELPERS.items() if name == "keep" or name in self.helpers]
        body = "\n".join([*helpers, *self.init, *self.forward])
        imports = ["import torch", "from torch import nn"]
        if "F." in body:
            imports.append("from torch.nn import functional as F")
        init = textwrap.indent("\n".join(self.init), " " * 8)
        forward = textwrap.indent("\n".join(self.forward), " " * 8)
        first, *rest = self.state
        state = "\n".join([f"numbers = {first}", *(f"numbers += {term}" for term in rest)])
        parts = [
            f'"""{docstring}"""\n',
            "\n".join(imports) + "\n",
            f"from kernels.dispatch import {', '.join(sorted({*self.operators, 'with_state'}))}\n",
        ]
        parts += [f"\n{helper}\n" for helper in helpers]
        position = '        past["position"] = past.get("position", 0) + 1\n' if "rotary" in self.helpers else ""
        parts.append(
            "\nclass TokenMixer(nn.Module):\n"
            "    def __init__(self, hidden_size: int, num_heads: int, layer_idx: int = 0, **kwargs: object) -> None:\n"
            "        super().__init__()\n"
            f"{init}\n\n"
            "    def forward(self, x: torch.Tensor) -> torch.Tensor:\n"
            "        return self.mix(x, None)\n\n"
            "    def step(self, x: torch.Tensor, state: dict | None = None) -> tuple[torch.Tensor, dict]:\n"
            "        past = dict(state or {})\n"
            "        y = self.mix(x.unsqueeze(1), past)\n"
            f"{position}"
            "        return y.squeeze(1), past\n\n"
            "    def mix(self, x: torch.Tensor, past: dict | None) -> torch.Tensor:\n"
            f"{forward}\n\n"
            "    def state_bytes(self) -> int:\n"
            '        """Bytes of fp32 state that decoding one sequence keeps: memory and look-back of the filters."""\n'
            f"{textwrap.indent(state, ' ' * 8)}\n"
            "        return 4 * numbers\n"
        )
        return "\n".join(parts)
