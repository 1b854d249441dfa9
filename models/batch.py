"""What every source of training sequences hands out, text and synthetic tasks alike. No torch, nothing of ours.

Shapes: B batch, T time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

IGNORED = -100  # a target that does not count


class Batch(NamedTuple):
    """Token ids and what is due after each, int64 [B, T]; IGNORED marks targets that do not count."""

    inputs: NDArray[np.int64]  # [B, T]
    targets: NDArray[np.int64]  # [B, T]
