"""fla.modules.feature_map: maps of queries and keys [..., K] for linear attention. Parameter names are fla's.

Not there: the learnable outer product and polynomial sketch.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from models.fla_standin import activations


class HedgehogFeatureMap(nn.Module):
    """softmax over [2 W x, -2 W x], W starting as the identity (Zhang et al. 2024, arXiv 2402.04347)."""

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        self.layer = nn.Linear(head_dim, head_dim)
        self.init_weights_()

    def init_weights_(self) -> None:
        """The identity map."""
        nn.init.eye_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        doubled = 2 * self.layer(x)
        return torch.cat([doubled, -doubled], -1).softmax(-1)


class T2RFeatureMap(nn.Module):
    """relu(W x) (Kasai et al. 2021, arXiv 2103.13076)."""

    def __init__(self, head_dim: int, dot_dim: int | None = None, bias: bool | None = False) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.dot_dim = head_dim if dot_dim is None else dot_dim
        self.bias = bias
        self.layer = nn.Linear(head_dim, self.dot_dim, bias=bool(bias))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.layer(x))


class DPFPFeatureMap(nn.Module):
    """Products of [relu(x), -relu(x)] with itself rolled by 1 to nu channels (Schlag et al. 2021, as fla has it)."""

    def __init__(self, head_dim: int, nu: int = 4) -> None:
        super().__init__()
        self.nu = nu

    def forward(self, x: Tensor) -> Tensor:
        positive = F.relu(x)
        both = torch.cat([positive, -positive], -1)
        return torch.cat([both * both.roll(shift, -1) for shift in range(1, self.nu + 1)], -1)


class HadamardFeatureMap(nn.Module):
    """Product of two linear maps of x."""

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        self.layer1 = nn.Linear(head_dim, head_dim)
        self.layer2 = nn.Linear(head_dim, head_dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer1(x) * self.layer2(x)
        return out


class TaylorFeatureMap(nn.Module):
    """Its inner product is 1 + s + s^2 / 2 for s = x . y / sqrt(K) (Arora et al. 2024, arXiv 2402.18668)."""

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        self.head_dim = head_dim

    def forward(self, x: Tensor) -> Tensor:
        mixed, squares = _quadratic(x)
        root = math.sqrt(self.head_dim)
        first = x / math.sqrt(root)
        return torch.cat([torch.ones_like(x[..., :1]), first, squares / (root * math.sqrt(2)), mixed / root], -1)


class RebasedFeatureMap(nn.Module):
    """Quadratic terms of a normed, scaled and shifted x (Aksenov et al. 2024, arXiv 2402.10644)."""

    def __init__(
        self,
        head_dim: int,
        use_gamma: bool | None = True,
        use_beta: bool | None = True,
        normalize: bool | None = True,
    ) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.normalize = normalize
        self.gamma = nn.Parameter(torch.ones(head_dim)) if use_gamma else None
        self.beta = nn.Parameter(torch.zeros(head_dim)) if use_beta else None

    def forward(self, x: Tensor, flatten: bool | None = True) -> Tensor:
        if self.normalize:
            x = F.layer_norm(x, (self.head_dim,), self.gamma, self.beta)
        else:
            x = x if self.gamma is None else x * self.gamma
            x = x if self.beta is None else x + self.beta
        if not flatten:
            return x
        mixed, squares = _quadratic(x)
        return torch.cat([squares * self.head_dim**-0.5, mixed * (2 / self.head_dim) ** 0.5], -1)


class ReLUFeatureMap(nn.Module):
    """relu(x)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x)


class SquaredReLUFeatureMap(nn.Module):
    """relu(x) squared."""

    def forward(self, x: Tensor) -> Tensor:
        return activations.sqrelu(x)


class GELUFeatureMap(nn.Module):
    """GELU in its tanh form."""

    def forward(self, x: Tensor) -> Tensor:
        return activations.fast_gelu_impl(x)


class SwishFeatureMap(nn.Module):
    """x * sigmoid(x)."""

    def forward(self, x: Tensor) -> Tensor:
        return activations.swish(x)


class SigmoidFeatureMap(nn.Module):
    """sigmoid(x)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x)


def _quadratic(x: Tensor) -> tuple[Tensor, Tensor]:
    """x_i x_j for i < j, and x_i^2."""
    rows, columns = torch.triu_indices(x.shape[-1], x.shape[-1], 1, device=x.device)
    return x[..., rows] * x[..., columns], x.square()
