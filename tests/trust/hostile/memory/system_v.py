"""Leave System V memory, messages and semaphores behind.

step: trial
expect: honest
policy: refuses
"""

import ctypes

libc = ctypes.CDLL(None, use_errno=True)
for name, arguments in (
    ("shmget", (SYSTEM_V_KEY, 4096, 0o1666)),
    ("msgget", (SYSTEM_V_KEY, 0o1666)),
    ("semget", (SYSTEM_V_KEY, 1, 0o1666)),
):
    getattr(libc, name)(*arguments)
