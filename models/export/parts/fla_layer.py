"""The candidate as a layer for models of flash-linear-attention: in place of one of `fla.layers`.

    model.model.layers[3].attn = CandidateLayer(hidden_size=1024, num_heads=8, layer_idx=3)

Shapes: B batch, T time, D model width.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor, nn

from models.fla_style import in_host_style

ENTRY = "TokenMixer"


class CandidateLayer(nn.Module):
    """forward as in fla: (o_BTD, None, past_key_values).

    With a cache, one token at a time goes through `step`, where the candidate has that form; a prompt does too. Hidden
    tokens are refused in a cache and left out elsewhere, sequence by sequence.
    """

    def __init__(
        self, hidden_size: int = 1024, num_heads: int = 4, layer_idx: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__()
        self.layer_idx = layer_idx
        found = getattr(importlib.import_module(".candidate", __package__), ENTRY)
        self.mixer: Any = in_host_style(found)(hidden_size, num_heads, layer_idx=layer_idx or 0)

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        use_cache: bool | None = False,
        output_attentions: bool | None = False,
        **kwargs: Any,
    ) -> tuple[Tensor, None, Any]:
        """Raises ValueError for what the candidate cannot do: packed sequences, padding in a cache."""
        if kwargs.get("cu_seqlens") is not None:
            raise ValueError("cu_seqlens: the candidate takes one sequence a row; unpack them")
        padded = attention_mask is not None and not bool(attention_mask.bool().all())
        if past_key_values is not None and use_cache:
            if padded:
                raise ValueError("attention_mask hides tokens and use_cache is true: decode sequences one by one")
            return self._continued(hidden_states, past_key_values), None, past_key_values
        if padded and attention_mask is not None:
            out_BTD = torch.zeros_like(hidden_states)
            for row, shown in enumerate(attention_mask.bool()):
                if bool(shown.any()):
                    out_BTD[row, shown] = self.mixer(hidden_states[row : row + 1, shown])[0]
            return out_BTD, None, past_key_values
        return self.mixer(hidden_states), None, past_key_values

    def _continued(self, x_BTD: Tensor, cache: Any) -> Tensor:
        if not callable(getattr(self.mixer, "step", None)):
            raise ValueError("the candidate has no step form: call the model with use_cache=False")
        place = self.layer_idx or 0
        known = cache[place] if len(cache) > place else None
        state = known["recurrent_state"] if known is not None else None
        outputs = []
        for x_BD in x_BTD.unbind(1):
            y_BD, state = self.mixer.step(x_BD, state)
            outputs.append(y_BD)
        cache.update(recurrent_state=state, layer_idx=place, offset=x_BTD.shape[1])
        return torch.stack(outputs, 1)
