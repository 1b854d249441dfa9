"""Loss and gradients of a batch in as many pieces as memory asks for, compiled where that works. Runs in a child.

Out of memory halves the piece and begins the batch again, so that the largest piece that fits is found in the first
steps and a later, rarer peak does not end a training. What torch.compile cannot compile runs as it is written.

Shapes: B batch, T time, D model width.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from kernels.linear_cross_entropy import linear_cross_entropy
from models.backbone import LanguageModel
from models.batch import IGNORED
from models.scale import Recipe

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class OutOfMemory(Exception):
    """One sequence does not fit, or memory ended where a step cannot be taken back."""


class MicroBatches:
    """Forward and backward of whole batches; `size` is the number of sequences at once, `compiled` whether it is."""

    def __init__(
        self,
        model: LanguageModel,
        recipe: Recipe,
        *,
        compiler: Callable[[Callable[[Tensor], Tensor]], Callable[[Tensor], Tensor]] = torch.compile,
    ) -> None:
        self._model = model
        self._dtype = _DTYPES[recipe.precision]
        self._device = next(model.parameters()).device
        self._hidden: Callable[[Tensor], Tensor] = model.hidden
        self.compiled = recipe.compile and (self._device.type == "cuda" or compiler is not torch.compile)
        if self.compiled:
            self._hidden = compiler(model.hidden)
        self.size = recipe.micro_batch

    def backward(self, inputs_BT: Tensor, targets_BT: Tensor, num_counted: int, num_here: int | None = None) -> Tensor:
        """Adds to the gradients those of the mean loss over `num_counted` targets, and hands that loss back, detached.

        Where only `num_here` of them are among these, the rest being other ranks', it is these ones' part of the mean.

        Raises:
            OutOfMemory: on a GPU, with one sequence at a time.
        """
        while True:
            try:
                return self._pieces(inputs_BT, targets_BT, num_counted, num_counted if num_here is None else num_here)
            except torch.OutOfMemoryError as error:
                self.shrink(inputs_BT.shape[0], error)
            except Exception:
                if not self.compiled:
                    raise
                self.compiled, self._hidden = False, self._model.hidden
            self._model.zero_grad(set_to_none=True)

    def _pieces(self, inputs_BT: Tensor, targets_BT: Tensor, num_counted: int, num_here: int) -> Tensor:
        size = min(self.size or inputs_BT.shape[0], inputs_BT.shape[0])
        summed = torch.zeros((), device=self._device)
        for inputs, targets in zip(torch.split(inputs_BT, size), torch.split(targets_BT, size), strict=True):
            counted = num_here if size == inputs_BT.shape[0] else int((targets != IGNORED).sum())
            share = counted / num_counted
            if share == 0.0:
                continue
            with self._autocast():
                hidden_ND = self._hidden(inputs).flatten(0, 1)
                loss = share * linear_cross_entropy(hidden_ND, self._model.head.weight, targets.flatten())
            loss.backward()  # type: ignore[no-untyped-call]
            summed += loss.detach()
        return summed

    def shrink(self, num_sequences: int, error: torch.OutOfMemoryError) -> None:
        """Half as many sequences at once from now on, of a batch of so many, and the cache is emptied.

        Raises:
            OutOfMemory: it is one sequence at a time already.
        """
        size = min(self.size or num_sequences, num_sequences)
        if size == 1:
            raise OutOfMemory(f"one sequence at a time does not fit: {str(error).splitlines()[0]}") from error
        self.size = size // 2
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _autocast(self) -> AbstractContextManager[object]:
        if self._dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self._device.type, self._dtype)
