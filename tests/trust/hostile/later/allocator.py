"""Change the process-wide settings of torch that others would inherit.

step: trial
expect: error, worthless, sealed, honest, leak
policy: refuses
"""

import torch

torch.set_default_dtype(torch.float64)
torch.set_num_threads(4)
torch.use_deterministic_algorithms(True)
torch.backends.mkldnn.enabled = False
