"""Decoding with the whole host: token by token from the layers' states, or anew over the prefix where a layer has none.

Shapes: D model width, T time, V vocabulary; one sequence.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from models.backbone import LanguageModel
from models.cost import tensor_bytes

STEP, RECOMPUTE = "step", "recompute"
_SETTLED = (80, 160)  # tokens: a state of the same size after both is taken to be of that size for good


class Decoder:
    """A sequence that grows by one token at a time. `form` says how: by steps, or by recomputing the prefix.

    Where a state is of bounded size, a step takes what it takes whatever came before, so `prime` goes no further than
    it takes to see that. Not covered: a state that stays of one size for 160 tokens and grows after that.
    """

    def __init__(self, model: LanguageModel, tokens_1T: Tensor) -> None:
        """`tokens_1T`: the prefix, one token at least."""
        self._model, self._prefix_1T = model.eval(), tokens_1T
        self._blocks: list[Any] = list(model.blocks)  # mixers offer `step` or do not
        self._states: list[object] = [None] * len(self._blocks)
        self._start: list[object] = []
        steps = all(callable(getattr(block.mixer, "step", None)) for block in self._blocks)
        self.form = STEP if steps else RECOMPUTE

    @torch.no_grad()
    def prime(self) -> None:
        """Read the prefix."""
        length, sizes = self._prefix_1T.shape[1], dict[int, int]()
        for done in range(length if self.form == STEP else 0):
            try:
                self.step(self._prefix_1T[:, done])
            except NotImplementedError:  # a layer in fla's style that keeps no cache says so at its first step
                self.form, self._states = RECOMPUTE, []
                break
            if done + 1 in _SETTLED:
                sizes[done + 1] = tensor_bytes(self._states)
                if len(sizes) == len(_SETTLED) and len(set(sizes.values())) == 1:
                    break
        self._start = copy.deepcopy(self._states)

    def rewind(self) -> None:
        """Back to the end of the prefix: states may be changed in place, and grow."""
        self._states = copy.deepcopy(self._start)

    @torch.no_grad()
    def step(self, token_1: Tensor) -> Tensor:
        """logits_1V behind one more token."""
        if self.form == RECOMPUTE:
            tokens_1T = torch.cat([self._prefix_1T, token_1[:, None]], 1)
            recomputed_1V: Tensor = self._model.head(self._model.hidden(tokens_1T)[:, -1])
            return recomputed_1V
        x_1D = self._model.embedding(token_1)
        for layer, block in enumerate(self._blocks):
            mixed_1D, self._states[layer] = block.mixer.step(block.mixer_norm(x_1D), self._states[layer])
            x_1D = x_1D + mixed_1D
            x_1D = x_1D + block.ffn(block.ffn_norm(x_1D).unsqueeze(1)).squeeze(1)
        logits_1V: Tensor = self._model.head(self._model.norm(x_1D))
        return logits_1V

    @property
    def state_bytes(self) -> int | None:
        """Of all layers, behind the prefix; None where nothing is carried and all is computed anew."""
        return tensor_bytes(self._start) if self.form == STEP else None
