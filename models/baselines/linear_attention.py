"""Linear attention: softmax replaced by a positive feature map, so that the past is one matrix.

    o_t = S_t^T phi(q_t) / (z_t . phi(q_t)),  S_t = S_(t-1) + phi(k_t) v_t^T,  z_t = z_(t-1) + phi(k_t),  phi = elu + 1

Katharopoulos et al. 2020, "Transformers are RNNs" (arXiv 2006.16236), equations of section 3.4. As in the paper:
queries, keys, values and output are linear maps, and the sum is normalised, which keeps outputs on the scale of values.
Not in the paper: a floor of 1e-6 under the normaliser. Head dim D / num_heads for keys and values. No positions.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from kernels.dispatch import linear_attn, with_state


class TokenMixer(nn.Module):
    """x_BTD -> o_BTD."""

    def __init__(self, hidden_size: int, num_heads: int, layer_idx: int = 0, **kwargs: object) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = hidden_size // num_heads
        self.q_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.k_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.v_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.o_proj = nn.Linear(hidden_size, hidden_size, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        o = linear_attn(*self._heads(x), normalize=True)
        out: torch.Tensor = self.o_proj(o.flatten(2))
        return out

    def step(self, x: torch.Tensor, state: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        o, state = with_state(linear_attn, *self._heads(x.unsqueeze(1)), normalize=True, state=state)
        return self.o_proj(o.flatten(1)), state

    def _heads(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        heads = (*x.shape[:2], self.num_heads, self.head_dim)
        q = F.elu(self.q_proj(x)).view(heads) + 1
        k = F.elu(self.k_proj(x)).view(heads) + 1
        return q, k, self.v_proj(x).view(heads)

    def state_bytes(self) -> int:
        return 4 * self.num_heads * self.head_dim * (self.head_dim + 1)
