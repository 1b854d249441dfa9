"""The same tasks where Triton's kernels are interpreted, which it asks for when it is imported: no GPU."""

from __future__ import annotations

import os

os.environ["TRITON_INTERPRET"] = "1"

from benchmarks.gpu_campaign.tasks import TASKS, warm_up

__all__ = ["TASKS", "warm_up"]
