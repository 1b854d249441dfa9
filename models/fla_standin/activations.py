"""fla.modules.activations and mlp, as plain functions: computed in float32 (float64), returned in x's type.

Not there: the forward and backward halves (`swish_fwd` and the like), which are fla's insides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from models.fla_standin.recurrence import state_dtype


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return torch.sigmoid(x)


def logsigmoid(x: Tensor, temperature: float = 1.0) -> Tensor:
    """log(sigmoid(x)) / temperature."""
    return (F.logsigmoid(x.to(state_dtype(x))) / temperature).to(x.dtype)


def swish(x: Tensor) -> Tensor:
    """x * sigmoid(x)."""
    return F.silu(x)


def fast_gelu_impl(x: Tensor) -> Tensor:
    """GELU in its tanh form."""
    return F.gelu(x, approximate="tanh")


def bias_gelu_impl(y: Tensor, bias: Tensor) -> Tensor:
    """GELU of y + bias."""
    return F.gelu(y + bias, approximate="tanh").to(y.dtype)


def sqrelu(x: Tensor) -> Tensor:
    """relu(x) squared."""
    return F.relu(x.to(state_dtype(x))).square().to(x.dtype)


def swiglu(x: Tensor, y: Tensor) -> Tensor:
    """swish(x) * y."""
    return (F.silu(x.to(state_dtype(x))) * y).to(x.dtype)


def sigmoidglu(x: Tensor, y: Tensor) -> Tensor:
    """sigmoid(x) * y."""
    return (torch.sigmoid(x.to(state_dtype(x))) * y).to(x.dtype)


def powglu(x: Tensor, y: Tensor, power: float = 3.0) -> Tensor:
    """x^(power / (sqrt(x) + 1)) * sigmoid(x) * y where x > 0, x * sigmoid(x) * y elsewhere."""
    wide = x.to(state_dtype(x))
    # Only positive numbers reach the root and the power: their gradients at 0 would be NaN.
    positive = torch.where(wide > 0, wide, 1.0)
    gate = torch.where(wide > 0, positive ** (power / (positive.sqrt() + 1)), wide) * torch.sigmoid(wide)
    return (gate * y).to(x.dtype)


def swiglu_linear(x: Tensor, y: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A linear map behind `swiglu`."""
    return _linear(swiglu(x, y), weight, bias)


def sigmoidglu_linear(x: Tensor, y: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A linear map behind `sigmoidglu`."""
    return _linear(sigmoidglu(x, y), weight, bias)


def powglu_linear(x: Tensor, y: Tensor, weight: Tensor, bias: Tensor | None, power: float = 3.0) -> Tensor:
    """A linear map behind `powglu`."""
    return _linear(powglu(x, y, power), weight, bias)


ACT2FN: dict[str, Callable[..., Tensor]] = {
    "relu": F.relu,
    "sigmoid": sigmoid,
    "logsigmoid": logsigmoid,
    "silu": swish,
    "swish": swish,
    "sqrelu": sqrelu,
    "gelu": fast_gelu_impl,
    "bias_gelu": bias_gelu_impl,
}


class GatedMLP(nn.Module):
    """down(act(gate x) * up x); the width is 2/3 of hidden_ratio * hidden_size, rounded up to 256, unless given."""

    def __init__(
        self,
        hidden_size: int,
        hidden_ratio: int | None = None,
        intermediate_size: int | None = None,
        hidden_act: str = "swish",
        fuse_swiglu: bool = True,
        powglu_power: float = 3.0,
    ) -> None:
        super().__init__()
        if hidden_act not in ("swish", "powlu"):
            raise ValueError(f"hidden_act is {hidden_act!r}; use swish or powlu")
        self.hidden_size = hidden_size
        self.hidden_ratio = 4 if hidden_ratio is None else hidden_ratio
        if intermediate_size is None:
            intermediate_size = -(-int(hidden_size * self.hidden_ratio * 2 / 3) // 256) * 256
        self.intermediate_size = intermediate_size
        self.hidden_act = hidden_act
        self.powglu_power = powglu_power
        self.gate_proj = nn.Linear(hidden_size, intermediate_size, bias=False)
        self.up_proj = nn.Linear(hidden_size, intermediate_size, bias=False)
        self.down_proj = nn.Linear(intermediate_size, hidden_size, bias=False)

    def forward(self, x: Tensor, **kwargs: Any) -> Tensor:
        gate, up = self.gate_proj(x), self.up_proj(x)
        inner = swiglu(gate, up) if self.hidden_act == "swish" else powglu(gate, up, self.powglu_power)
        out: Tensor = self.down_proj(inner)
        return out


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.linear(x.to(weight.dtype), weight, bias)
