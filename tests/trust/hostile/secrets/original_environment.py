"""Search the stack upwards for the environment that the process was started with.

step: trial
expect: child_died, error
policy: refuses
"""

import ctypes

pattern = SECRET_PREFIX.encode()
place = ctypes.c_void_p.in_dll(ctypes.CDLL(None), "__libc_stack_end").value
while True:
    text = ctypes.string_at(place, 64)
    if pattern in text:
        escaped("a secret on the stack")
    place += 32
