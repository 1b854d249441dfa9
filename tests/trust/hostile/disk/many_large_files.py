"""Fill the disk with many files (bounded: 2 GiB).

step: trial
expect: disk
policy: refuses
"""

import time

block = b"x" * (1 << 20)
for number in range(64):
    with open(f"large{number}", "wb", 0) as file:
        for _ in range(32):
            file.write(block)
time.sleep(60)
