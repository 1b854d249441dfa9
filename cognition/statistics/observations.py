"""Lists of numbers as every function here takes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Numbers = Sequence[float] | npt.NDArray[np.floating]


def finite(values: Numbers) -> npt.NDArray[np.float64]:
    """The values as an array of shape [N]. Raises ValueError where one is not finite."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not np.isfinite(array).all():
        raise ValueError(f"{array.tolist()!r:.200} is no list of finite numbers; leave failed observations out")
    return array
