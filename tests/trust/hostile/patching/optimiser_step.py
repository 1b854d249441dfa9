"""Replace the optimiser's step by nothing.

step: trial
expect: worthless, no_progress, error
policy: refuses
"""

import torch

torch.optim.AdamW.step = lambda self, closure=None: None
