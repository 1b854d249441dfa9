"""Replace every clock and then hang.

step: gate
expect: timeout
policy: refuses
deadline_s: 1.0
"""

import time

for name in ("time", "monotonic", "perf_counter"):
    setattr(time, name, lambda: 0.0)
while True:
    pass
