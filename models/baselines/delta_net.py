"""DeltaNet: a matrix memory that corrects what it holds under a key instead of adding to it.

    S_t = S_(t-1) (I - beta_t k_t k_t^T) + beta_t v_t k_t^T,  o_t = S_t q_t
    q, k, v = silu(conv4(W x)),  q and k of norm 1 per head,  beta = sigmoid(W_b x),  y = W_o rms_norm_h(o)

Schlag et al. 2021 (arXiv 2102.11174) and Yang et al. 2024, "Parallelizing Linear Transformers with the Delta Rule over
Sequence Length" (arXiv 2406.06484), sections 2.2 and 3. As in the latter: depthwise short convolutions of 4 taps, SiLU,
L2-normalised queries and keys, an RMS norm per head before the output map. Head dim D / num_heads for keys and values.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from kernels.dispatch import causal_conv, delta_rule, with_state

TAPS = 4

State = tuple[torch.Tensor, ...]  # of the three convolutions, of the memory


class ShortConvolution(nn.Module):
    """Depthwise causal convolution, then SiLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, TAPS).uniform_(-(TAPS**-0.5), TAPS**-0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.silu(causal_conv(x, self.weight))

    def continued(self, x: torch.Tensor, state: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        out, state = with_state(causal_conv, x, self.weight, state=state)
        return F.silu(out), state


class TokenMixer(nn.Module):
    """x_BTD -> o_BTD."""

    def __init__(self, hidden_size: int, num_heads: int, layer_idx: int = 0, **kwargs: object) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = hidden_size // num_heads
        self.q_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.k_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.v_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.b_proj = nn.Linear(hidden_size, num_heads, bias=False)
        self.q_conv = ShortConvolution(hidden_size)
        self.k_conv = ShortConvolution(hidden_size)
        self.v_conv = ShortConvolution(hidden_size)
        self.o_norm = nn.RMSNorm(self.head_dim, eps=1e-5)
        self.o_proj = nn.Linear(hidden_size, hidden_size, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.q_conv(self.q_proj(x)), self.k_conv(self.k_proj(x)), self.v_conv(self.v_proj(x))
        return self._out(delta_rule(*self._heads(q, k, v), torch.sigmoid(self.b_proj(x))))

    def step(self, x: torch.Tensor, state: State | None = None) -> tuple[torch.Tensor, State]:
        q_past, k_past, v_past, memory = state or (None, None, None, None)
        x = x.unsqueeze(1)
        q, q_past = self.q_conv.continued(self.q_proj(x), q_past)
        k, k_past = self.k_conv.continued(self.k_proj(x), k_past)
        v, v_past = self.v_conv.continued(self.v_proj(x), v_past)
        o, memory = with_state(delta_rule, *self._heads(q, k, v), torch.sigmoid(self.b_proj(x)), state=memory)
        return self._out(o).squeeze(1), (q_past, k_past, v_past, memory)

    def _heads(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        heads = (*q.shape[:2], self.num_heads, self.head_dim)
        q, k = F.normalize(q.view(heads), dim=-1, eps=1e-6), F.normalize(k.view(heads), dim=-1, eps=1e-6)
        return q, k, v.view(heads)

    def _out(self, o: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.o_proj(self.o_norm(o).flatten(2))
        return out

    def state_bytes(self) -> int:
        memory = self.num_heads * self.head_dim**2
        convolutions = 3 * (TAPS - 1) * self.num_heads * self.head_dim
        return 4 * (memory + convolutions)
