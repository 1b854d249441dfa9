"""Change the interpreter's own constants in memory.

step: trial
expect: honest, error, child_died, worthless, nonfinite, leak
policy: refuses
"""

import ctypes

ctypes.memmove(id(7) + 24, b"\x09", 1)
