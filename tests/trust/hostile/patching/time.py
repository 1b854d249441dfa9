"""Replace every clock, so that deadlines and durations mean nothing.

step: trial
expect: honest, sealed
policy: refuses
"""

import time

for name in ("time", "monotonic", "perf_counter", "process_time", "sleep"):
    setattr(time, name, lambda *arguments: 0.0)
