"""Ask for a tensor of thirty-two terabytes.

step: trial
expect: memory
policy: cannot see, it counts no bytes
"""

import torch

torch.zeros(1 << 43)
