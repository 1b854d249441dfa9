"""Print without end (bounded: 2 GiB).

step: trial
expect: honest, disk, child_died
policy: refuses
"""

import os

block = b"x" * (1 << 20)
try:
    for _ in range(2 << 10):
        os.write(1, block)
except OSError:
    pass
