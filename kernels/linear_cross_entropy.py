"""Cross-entropy of a linear head, without holding all logits: definition and chunked form.

With a vocabulary of 50,000 and a width of 256 the head is most of a small model's work, and its logits most of its
memory: 2048 x 32 tokens are 13 GB of them in float32. The chunked form makes loss and gradients a group of tokens at a
time; the backward pass only scales what the forward pass found.

Shapes: N tokens, D width, V vocabulary, C tokens in a chunk.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

IGNORED = -100
_MOST_LOGITS = 1 << 24  # held at once: 64 MiB in float32; fewer are computed in one go


def definition(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Mean over the counted targets_N of -log softmax(weight_VD hidden_ND)[target]; targets of -100 do not count."""
    return F.cross_entropy(F.linear(hidden, weight).float(), targets, ignore_index=IGNORED)


def chunked(hidden: Tensor, weight: Tensor, targets: Tensor, *, most_logits: int = _MOST_LOGITS) -> Tensor:
    """The same with at most `most_logits` logits at once; products are in autocast's type where it is on."""
    chunk = max(1, most_logits // weight.shape[0])
    dtype = torch.get_autocast_dtype(hidden.device.type) if _autocast(hidden) else hidden.dtype
    loss: Tensor = _Chunked.apply(hidden, weight, targets, chunk, dtype)  # type: ignore[no-untyped-call]
    return loss


def linear_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Mean loss in nats, by whichever form fits: the definition for few logits, chunks for many."""
    few = hidden.shape[0] * weight.shape[0] <= _MOST_LOGITS
    return definition(hidden, weight, targets) if few else chunked(hidden, weight, targets)


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, chunk: int, dtype: torch.dtype) -> Tensor:
        narrow_VD = weight.to(dtype)
        counted_N = targets != IGNORED
        num = counted_N.sum()
        loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
        grad_ND = torch.empty_like(hidden)
        grad_VD = torch.zeros_like(weight, dtype=torch.float32)
        for start in range(0, hidden.shape[0], chunk):
            part = slice(start, start + chunk)
            hidden_CD, counts_C1 = hidden[part].to(dtype), counted_N[part, None]
            label_C1 = torch.where(counted_N[part], targets[part], 0)[:, None]
            logits_CV = F.linear(hidden_CD, narrow_VD).float()
            logs_CV = logits_CV.log_softmax(-1)
            loss -= (logs_CV.gather(1, label_C1) * counts_C1).sum()
            slope_CV = logs_CV.exp_()
            slope_CV.scatter_add_(1, label_C1, slope_CV.new_full((1, 1), -1.0).expand_as(label_C1))
            narrow_CV = slope_CV.mul_(counts_C1 / num).to(dtype)
            grad_ND[part] = narrow_CV @ narrow_VD
            grad_VD += narrow_CV.mT @ hidden_CD
        ctx.save_for_backward(grad_ND, grad_VD.to(weight.dtype))
        return loss / num

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_ND, grad_VD = ctx.saved_tensors
        return grad_ND * grads[0], grad_VD * grads[0], None, None, None


def _autocast(x: Tensor) -> bool:
    kind = x.device.type
    return torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
