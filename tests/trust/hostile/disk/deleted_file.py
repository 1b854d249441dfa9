"""Fill the disk with files that have no name any more (bounded: 2 GiB).

step: trial
expect: disk, memory, error
policy: refuses
"""

import os, time

block = b"x" * (1 << 20)
kept = []
for number in range(64):
    kept.append(open(f"large{number}", "wb", 0))
    os.unlink(f"large{number}")
    for _ in range(32):
        kept[-1].write(block)
time.sleep(60)
