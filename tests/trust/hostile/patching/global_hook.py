"""Register a hook on every module that mixes in later tokens.

step: trial
expect: leak, error
policy: refuses
"""

from torch import nn
from torch.nn.modules.module import register_module_forward_hook

register_module_forward_hook(
    lambda module, inputs, output: output + output.roll(-1, 1) if isinstance(module, nn.Linear) else None
)
