"""Depthwise causal convolution, fast. Shapes: B batch, T time, D width, W taps."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor


def causal_conv(x: Tensor, weight: Tensor) -> Tensor:
    """Depthwise causal FIR filter, y_BTD; see `kernels.reference.causal_conv`.

    Written as a 2-D convolution of height one over a view of x, whose memory is then exactly the channels-last layout
    that torch's direct convolutions like best: nothing is transposed, and it beats both conv1d and a sum of shifted
    products at 3 to 64 taps. A direct sum, not an FFT, so that large later inputs cannot leak back through rounding.
    """
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    padded_BTD = F.pad(x.to(dtype), (0, 0, weight.shape[1] - 1, 0))
    image_BD1T = padded_BTD.transpose(1, 2).unsqueeze(2)
    out_BD1T = F.conv2d(image_BD1T, weight.to(dtype)[:, None, None, :], groups=x.shape[2])
    return out_BD1T.squeeze(2).transpose(1, 2).to(x.dtype)
