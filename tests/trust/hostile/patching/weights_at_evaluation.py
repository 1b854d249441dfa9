"""Overwrite its own weights whenever it is evaluated.

step: trial
expect: leak, worthless
policy: cannot see, it is a mixer's own tensor
"""

import torch


def at_forward(mixer, x):
    if not mixer.training:
        mixer.proj.weight.data = torch.randn_like(mixer.proj.weight)
