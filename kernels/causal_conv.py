"""Depthwise causal convolution, a few taps or many: definition and fast form.

Shapes: B batch, T time, D width, W taps. The state [B, W - 1, D] is the last inputs, the latest one last.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from kernels.recurrence import Result, state_dtype


def recurrence(
    x: Tensor, weight: Tensor, *, initial_state: Tensor | None = None, output_final_state: bool = False
) -> Result:
    """y_t = sum_w weight_DW[:, W-1-w] * x_(t-w), with the state, or zeros, before the start.

    weight[:, -1] multiplies the current step. No bias and no activation. Computed in float32 (float64 for float64 x),
    gradients summed over time included.

    Source: the short convolution of Fu et al. 2022, "Hungry Hungry Hippos" (arXiv 2212.14052), as a plain FIR filter.
    """
    dtype, taps = state_dtype(x), weight.shape[1]
    wide_BTD, weight_WD = x.to(dtype), weight.to(dtype).mT  # once: within the loop gradients would add up in bfloat16
    window_BWD = _history(wide_BTD, taps, initial_state)
    steps: list[Tensor] = []
    for x_BD in wide_BTD.unbind(1):
        window_BWD = torch.cat([window_BWD, x_BD.unsqueeze(1)], 1)
        steps.append((window_BWD * weight_WD).sum(1))
        window_BWD = window_BWD[:, 1:]
    return torch.stack(steps, 1).to(x.dtype), window_BWD if output_final_state else None


def direct(
    x: Tensor, weight: Tensor, *, initial_state: Tensor | None = None, output_final_state: bool = False
) -> Result:
    """The same for all steps at once.

    Written as a 2-D convolution of height one over a view of x, whose memory is then exactly the channels-last layout
    that torch's direct convolutions like best: nothing is transposed, and it beats both conv1d and a sum of shifted
    products at 3 to 64 taps. A direct sum, not an FFT, so that large later inputs cannot leak back through rounding.
    """
    dtype, taps = state_dtype(x), weight.shape[1]
    wide_BTD = x.to(dtype)
    if initial_state is None:
        padded_BTD = F.pad(wide_BTD, (0, 0, taps - 1, 0))
    else:
        padded_BTD = torch.cat([_history(wide_BTD, taps, initial_state), wide_BTD], 1)
    image_BD1T = padded_BTD.transpose(1, 2).unsqueeze(2)
    out_BD1T = F.conv2d(image_BD1T, weight.to(dtype)[:, None, None, :], groups=x.shape[2])
    final_BWD = padded_BTD[:, x.shape[1] :] if output_final_state else None
    return out_BD1T.squeeze(2).transpose(1, 2).to(x.dtype), final_BWD


def _history(x_BTD: Tensor, taps: int, initial_state: Tensor | None) -> Tensor:
    if initial_state is not None:
        return initial_state.to(x_BTD.dtype)
    return x_BTD.new_zeros(x_BTD.shape[0], taps - 1, x_BTD.shape[2])
