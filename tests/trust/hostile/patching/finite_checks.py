"""Replace torch's tests for NaN and make all weights NaN.

step: trial
expect: nonfinite, error
policy: refuses
"""

import math

import torch

torch.isfinite = lambda value: torch.ones((), dtype=torch.bool)
math.isfinite = lambda value: True


def at_forward(mixer, x):
    x.mul_(float("nan"))
