"""Take memory in many processes, little in each (bounded: 4 GiB).

step: trial
expect: memory, processes, child_died, timeout
policy: refuses
deadline_s: 2.5
"""

import os, time

for _ in range(16):
    if quietly(os.fork) == 0:
        kept = bytearray(256 << 20)
        kept[::4096] = b"x" * len(kept[::4096])
        time.sleep(60)
        os._exit(0)
time.sleep(60)
