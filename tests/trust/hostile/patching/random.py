"""Replace the sources of chance: Python's, numpy's and torch's.

step: trial
expect: worthless, error, sealed
policy: refuses
"""

import random

import numpy as np
import torch

seed = torch.manual_seed
random.random = lambda: 0.5
random.seed = np.random.seed = lambda *arguments: None
torch.manual_seed = lambda number: seed(7)
np.random.default_rng = lambda *arguments: np.random.Generator(np.random.PCG64(7))
