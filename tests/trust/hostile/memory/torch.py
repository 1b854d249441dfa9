"""Take memory from torch without end (bounded: 20 GiB).

step: trial
expect: memory, error
policy: cannot see, it counts no bytes
"""

import torch

kept = []


def at_forward(mixer, x):
    for _ in range(320):
        kept.append(torch.ones(64 << 18))
