"""Fill memory by files that live in it and are never mapped (bounded: 4 GiB).

step: trial
expect: honest, memory, child_died
policy: refuses
"""

import os

kept = []
block = b"x" * (1 << 20)
written = 0
try:
    for _ in range(64):
        kept.append(os.memfd_create("x"))
        for _ in range(64):
            written += os.write(kept[-1], block)
except OSError:
    pass
if written > 3 << 30:
    escaped(f"{written >> 20} MiB of memory in files")
