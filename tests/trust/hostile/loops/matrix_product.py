"""Multiply matrices for minutes inside one call.

step: gate
expect: timeout
policy: cannot see, it does not compute
deadline_s: 1.0
"""

import torch

torch.matrix_power(torch.eye(3_000), (1 << 62) - 1)
