"""Fork without end (bounded: 4,000 processes and a minute).

step: gate
expect: timeout, crashed
policy: refuses
deadline_s: 1.5
"""

import os, time

until = time.monotonic() + 60
for _ in range(12):
    quietly(os.fork)
while time.monotonic() < until:
    time.sleep(0.01)
