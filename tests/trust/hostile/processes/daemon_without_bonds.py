"""Undo the ties to the server by prctl, then leave a daemon behind.

step: trial
expect: child_died
policy: refuses
"""

import ctypes, os, time

libc = ctypes.CDLL(None)
for option, value in ((1, 0), (36, 1), (4, 1), (15, b"kthreadd")):
    libc.prctl(option, value, 0, 0, 0)
for _ in range(3):
    if quietly(os.fork) == 0:
        os.setsid()
        libc.prctl(1, 0, 0, 0, 0)
        time.sleep(60)
        os._exit(0)
os._exit(0)
