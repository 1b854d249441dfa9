"""Read address zero.

step: gate
expect: crashed
policy: refuses
"""

import ctypes

ctypes.string_at(0)
